// Asks the server for news and shows them; what was opened stays open.
"use strict";

const SECONDS = 3;
const place = document.getElementById("content");
const status = document.getElementById("status");
let version = "";

function opened() {
  return new Set(
    [...place.querySelectorAll("details[open] > summary")].map((item) => item.textContent),
  );
}

// What is told of an element that comes again: the text of a summary, the label of a table.
const named = (item) => item.getAttribute("aria-label") || item.textContent;

function show(content) {
  const names = opened();
  const wide = new Map([...place.querySelectorAll(".wide")].map((e) => [named(e), e.scrollLeft]));
  const focused = place.contains(document.activeElement) ? named(document.activeElement) : null;
  place.innerHTML = content; // markup of our own server; the page's policy runs no script in it
  for (const summary of place.querySelectorAll("details > summary")) {
    summary.parentElement.open = names.has(summary.textContent);
  }
  for (const frame of place.querySelectorAll(".wide")) frame.scrollLeft = wide.get(named(frame)) || 0;
  const again = [...place.querySelectorAll("summary, .wide")].find((e) => named(e) === focused);
  if (again) again.focus({ preventScroll: true }); // the keyboard stays where it was
}

async function ask() {
  try {
    const reply = await fetch(`/content?version=${version}`);
    const news = reply.status === 204 ? {} : await reply.json();
    if (reply.status === 200) {
      version = news.version;
      show(news.content);
    }
    const time = new Date().toLocaleTimeString();
    status.textContent = reply.ok ? `live, looked at ${time}` : `at ${time}: ${news.error}`;
  } catch {
    status.textContent =
      "seqtrain-report has ended, or cannot be reached; this is the last that it said";
  }
  setTimeout(ask, SECONDS * 1000);
}

ask();
