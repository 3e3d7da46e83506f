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

function show(content) {
  const names = opened();
  place.innerHTML = content; // markup of our own server; the page's policy runs no script in it
  for (const summary of place.querySelectorAll("details > summary")) {
    summary.parentElement.open = names.has(summary.textContent);
  }
}

async function ask() {
  try {
    const reply = await fetch(`/content?version=${version}`);
    if (reply.status === 200) {
      const news = await reply.json();
      version = news.version;
      show(news.content);
    }
    status.textContent = `live, looked at ${new Date().toLocaleTimeString()}`;
  } catch {
    status.textContent = "the server is gone; this is the last that it said";
  }
  setTimeout(ask, SECONDS * 1000);
}

ask();
