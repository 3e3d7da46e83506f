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

// Lines are one input each; rows of numbers are one input together. JSON is taken as it is.
function readInputs(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith("{") || (about.reads === "rows" && trimmed.startsWith("["))) {
    return [JSON.parse(trimmed)];
  }
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
    line.append(element("span", "score", score === null ? "" : `score ${score.toFixed(3)}`));
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
  head.append(element("th", "", "step"), ...names.map((name) => element("th", "", name)));
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
  frame.append(table);
  card.append(frame);
}

function showOutput(input, output) {
  const card = element("article");
  if (typeof input === "string") card.append(element("p", "input", input));
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
  place("outputs").append(card);
}

async function answer(event) {
  event.preventDefault();
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
    request.nbest = Math.min(Number(place("nbest").value) || 1, request.beam);
  } else {
    request.pictures = true;
  }
  place("send").disabled = true;
  say("working ...");
  try {
    const reply = await fetch("/api/answer", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
    const said = await reply.json();
    if (!reply.ok) throw new Error(said.error);
    place("outputs").replaceChildren();
    said.outputs.forEach((output, index) => showOutput(inputs[index], output));
    say(`answered in ${said.seconds} s`);
  } catch (error) {
    say(error.message, true);
  } finally {
    place("send").disabled = false;
  }
}

async function start() {
  const reply = await fetch("/api/model");
  about = await reply.json();
  place("about").textContent = `${about.model} for ${about.task}, ${about.run} ${about.checkpoint}`;
  place("hint").textContent = `${about.hint} At most ${about.max_inputs} inputs at once.`;
  place("search").hidden = !about.generates;
  place("beam").value = about.beam;
  place("example").hidden = !about.example;
  place("example").addEventListener("click", () => {
    place("input").value = about.example;
  });
  place("form").addEventListener("submit", answer);
}

start().catch((error) => say(error.message, true));
