// Two episodes on one clock, three buttons. A choice is sent, and the next pair comes only with its answer.
"use strict";

const FRAMES_A_SECOND = 8, HOLD = 6, SPEEDS = [1, 2, 4, 0.5];
const at = id => document.getElementById(id);
const choices = [...document.querySelectorAll(".choice")];
let pair = null;        // what the server said, with its two loaded images
let clock = 0;          // in frames; beyond the last one for HOLD frames, so that the end is seen
let playing = true, speed = 0, before = null;
let retry = null;       // what "Try again" does

function length() { return Math.max(pair.left.frames, pair.right.frames); }

function draw() {
  const now = Math.min(Math.floor(clock), length() - 1);
  for (const name of ["left", "right"]) {
    const side = pair[name], canvas = at(`${name}-episode`), frame = Math.min(now, side.frames - 1);
    const x = (frame % side.columns) * side.width, y = Math.floor(frame / side.columns) * side.height;
    canvas.getContext("2d").drawImage(
      side.loaded, x, y, side.width, side.height, 0, 0, canvas.width, canvas.height);
  }
  at("step").value = now;
}

function tick(time) {
  if (pair && playing && before !== null) {
    clock += (time - before) / 1000 * FRAMES_A_SECOND * SPEEDS[speed];
    if (clock >= length() + HOLD) clock = 0;
    draw();
  }
  before = time;
  requestAnimationFrame(tick);
}

function play(on) {
  playing = on;
  at("play").textContent = on ? "Pause" : "Play";
}

function allow(on) { choices.forEach(button => { button.disabled = !on; }); }

function trouble(text, again) {
  at("trouble").hidden = !text;
  at("trouble").firstElementChild.textContent = text;
  retry = again;
}

function picture(side) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("a picture did not arrive"));
    image.src = side.image;
  });
}

async function show(found) {
  at("progress").max = found.total;
  at("progress").value = found.done;
  at("count").textContent = `${found.done} of ${found.total} judged`;
  at("pair").hidden = found.finished;
  at("finished").hidden = !found.finished;
  at("goal").hidden = document.querySelector("footer").hidden = found.finished;
  at("goal").textContent = found.finished ? "" : found.goal;
  at("output").textContent = found.output;
  if (found.finished) { pair = null; return; }
  const images = await Promise.all([picture(found.left), picture(found.right)]);
  ["left", "right"].forEach((name, index) => {
    const side = found[name], canvas = at(`${name}-episode`);
    side.loaded = images[index];
    canvas.width = side.width;
    canvas.height = side.height;
    canvas.style.aspectRatio = `${side.width} / ${side.height}`;
  });
  pair = found;
  clock = 0;
  at("step").max = length() - 1;
  play(true);
  draw();
  allow(true);
}

async function ask(path, options) {
  let answer, found;
  try {
    answer = await fetch(path, options);
    found = await answer.json();
  } catch {
    throw new Error("The program behind this page does not answer. Start it again, then try again.");
  }
  if (!answer.ok && answer.status !== 409) throw new Error(found.error);  // 409: judged already, here is the next
  return found;
}

async function next(path, options) {
  allow(false);
  trouble("", null);
  try {
    await show(await ask(path, options));
  } catch (error) {
    trouble(error.message, () => next(path, options));
  }
}

function choose(choice) {
  if (!pair || choices[0].disabled) return;
  next("/choice", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ pair: pair.pair, choice }),
  });
}

choices.forEach(button => button.addEventListener("click", () => choose(button.dataset.choice)));
at("play").addEventListener("click", () => play(!playing));
at("speed").addEventListener("click", () => {
  speed = (speed + 1) % SPEEDS.length;
  at("speed").textContent = `${SPEEDS[speed]}×`;
});
at("step").addEventListener("input", event => {
  play(false);
  clock = Number(event.target.value);
  draw();
});
at("trouble").querySelector("button").addEventListener("click", () => retry && retry());
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const keys = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal" };
  if (event.target === at("step")) return;  // there the arrows move through the episode
  if (keys[event.key]) {
    event.preventDefault();
    choose(keys[event.key]);
  } else if (event.key === " " && event.target.tagName !== "BUTTON") {
    event.preventDefault();
    play(!playing);
  }
});
requestAnimationFrame(tick);
next("/pair");
