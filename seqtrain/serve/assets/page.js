// Sends what is typed and shows the answers. Texts are shown as texts, never as markup.
"use strict";

const place = (id) => document.getElementById(id);
let about = null;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function say(text, isError = false) {
  place("status").textContent = text;
  place("status").className = isError ? "error" : "";
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("the input begins like JSON and is none: look at its brackets and commas");
  }
}

// Lines are one input each; rows of numbers are one input together. JSON is taken as it is.
function readInputs(text) {
  const trimmed = text.trim();
  if (!trimmed) throw new Error("type something first");
  if (!about.generates && trimmed.startsWith("{")) return [readJson(trimmed)];
  if (about.reads === "rows" && trimmed.startsWith("[")) return [readJson(trimmed)];
  if (about.reads === "lines") {
    return text.replace(/\n+$/, "").split("\n");
  }
  const rows = trimmed.split("\n").map((line) => line.trim().split(/[\s,;]+/).filter((word) => word));
  const numbers = rows.map((row) =>
    row.map((word) => {
      const value = word.toLowerCase() === "nan" ? null : Number(word);
      if (Number.isNaN(value)) throw new Error(`"${word}" is not a number`);
      return value;
    }),
  );
  return [{ values: numbers }];
}

function showHypotheses(card, hypotheses) {
  for (const { text, score } of hypotheses) {
    const line = element("p", "output");
    line.dir = "auto";
    line.append(element("bdi", "", text || "(nothing)"));
    const isSearched = score !== null && (text || score !== 0); // not so for an empty line
    line.append(element("span", "score", isSearched ? `score ${score.toFixed(3)}` : ""));
    card.append(line);
  }
}

function showShares(card, shares) {
  const grid = element("div", "shares");
  for (const [name, share] of Object.entries(shares)) {
    const bar = element("meter");
    bar.value = share;
    bar.setAttribute("aria-label", name);
    grid.append(element("span", "", name), bar, element("span", "", `${(100 * share).toFixed(1)} %`));
  }
  card.append(grid);
}

function showPictures(card, pictures) {
  for (const picture of pictures) {
    // Drawn by our own server, which escapes every text; no script runs in it by the page's policy.
    const figure = new DOMParser().parseFromString(picture, "text/html").body.firstElementChild;
    if (figure) card.append(document.importNode(figure, true));
  }
}

function showForecast(card, forecast) {
  const names = Object.keys(forecast).slice(0, 12);
  const table = element("table");
  const head = element("tr");
  head.append(...["step", ...names].map((name) => element("th", "", name)));
  for (const cell of head.children) cell.scope = "col";
  table.append(head);
  const steps = names.length ? forecast[names[0]].length : 0;
  for (let step = 0; step < Math.min(steps, 200); step += 1) {
    const row = element("tr");
    row.append(element("td", "", String(step + 1)));
    for (const name of names) {
      const value = forecast[name][step];
      row.append(element("td", "", value === null ? "-" : String(Number(value.toPrecision(5)))));
    }
    table.append(row);
  }
  const frame = element("div", "wide");
  frame.tabIndex = 0; // so that the keyboard can scroll it
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "forecast, step by step");
  frame.append(table);
  card.append(frame);
}

function showUnknown(card, percent) {
  if (!percent) return;
  const share = percent < 1 ? "less than 1" : String(Math.round(percent));
  card.append(element("p", "note", `${share} % of this input's symbols are unknown to the model`));
}

function showOutput(input, output, index) {
  const card = element("article");
  card.setAttribute("aria-label", `answer ${index + 1}`);
  if (typeof input === "string") card.append(element("p", "input", input || "(an empty line)"));
  if (output.error !== undefined) {
    card.append(element("p", "error", output.error));
  } else if (output.hypotheses) {
    showHypotheses(card, output.hypotheses);
  } else if (output.forecast) {
    showPictures(card, output.pictures || []);
    showForecast(card, output.forecast);
  } else if (output.probabilities) {
    card.append(element("p", "output", output.label));
    showShares(card, output.probabilities);
  } else if (output.labels) {
    card.append(element("p", "output", output.labels.flat(3).join(" ")));
  } else {
    card.append(element("p", "output", JSON.stringify(output)));
  }
  showUnknown(card, output.unknown_percent);
  place("outputs").append(card);
}

// A reason that people can read, whatever came back.
async function asked(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer: seqtrain-serve has ended, or cannot be reached");
  }
  const said = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Error(said.error || `the server refused this (status ${reply.status})`);
  return said;
}

async function answer(event) {
  event.preventDefault();
  if (about === null || place("send").disabled) return;
  let inputs;
  try {
    inputs = readInputs(place("input").value);
  } catch (error) {
    say(error.message, true);
    return;
  }
  const request = { inputs };
  if (about.generates) {
    request.beam = Number(place("beam").value) || about.beam;
    request.nbest = Number(place("nbest").value) || 1;
  } else {
    request.pictures = true;
  }
  place("send").disabled = true;
  say("working ...");
  try {
    const said = await asked("/api/answer", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
    place("outputs").replaceChildren();
    said.outputs.forEach((output, index) => showOutput(inputs[index], output, index));
    say(`answered in ${said.seconds} s`);
  } catch (error) {
    place("outputs").replaceChildren(); // they belong to another input
    say(error.message, true);
  } finally {
    place("send").disabled = false;
  }
}

async function start() {
  place("form").addEventListener("submit", answer);
  place("input").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) answer(event);
  });
  about = await asked("/api/model");
  document.title = `Try ${about.run}: ${about.task}`;
  place("about").textContent = `${about.model} for ${about.task}, ${about.run} ${about.checkpoint}`;
  place("hint").textContent = `${about.hint} At most ${about.max_inputs} inputs at once.`;
  place("search").hidden = !about.generates;
  place("beam").value = about.beam;
  place("example").hidden = !about.example;
  place("example").addEventListener("click", () => {
    place("input").value = about.example;
    place("input").focus();
  });
}

start().catch((error) => say(error.message, true));
