// Every text is set as text: names and reasons come from outside.
"use strict";

const KEPT = 80; // steps on the page: more than are told at once
const SILENCE = 3000; // ms after which the program is said not to answer: it speaks once a second
const AGAIN = 500; // ms between two tries to connect
const GLOW = 250; // ms for which an arrow stays bright
const STRIDE = 110; // ms between two arrows that light up one after the other
const FOLLOWED = 4; // so many at most do; more light up together
const WINDOW = 5000; // ms over which a rate is taken
const STUCK = ["blocked", "closed", "failed", "lost", "store"]; // what is said aloud

const $ = (id) => document.getElementById(id);
const numbers = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 1, hourCycle: "h23",
});

const FIGURES = [
  // what it is called, and how it is read; what is null is not shown
  ["delivered", (now) => now.counts.delivered],
  ["delivered / s", (now, subject) => subject.rate()],
  ["acked", (now) => (now.reliable ? now.counts.acked : null)],
  ["redelivered", (now) => (now.reliable ? now.counts.redelivered : null)],
  ["failures", (now) => (now.reliable ? now.counts.failures : null)],
  ["dropped", (now) => now.counts.dropped],
  ["dead-lettered", (now) => (now.reliable ? now.counts.dead_lettered : null)],
  ["stale answers", (now) => (now.reliable ? now.counts.stale_acks + now.counts.stale_nacks + now.counts.stale_extends : null)],
  ["no consumer", (now) => (now.reliable ? null : now.counts.no_consumer)],
  ["in flight", (now) => (now.reliable ? now.in_flight ?? "–" : null)],
  ["attempt", (now) => (now.reliable ? now.attempt ?? "–" : null)],
  ["its failures", (now) => (now.reliable ? now.failures ?? "–" : null)],
  ["lag", (now) => now.lag?.messages ?? null],
  ["cursor", (now) => now.cursor],
  ["durable", (now) => now.durable_cursor],
  ["head", (now) => now.head],
];

class Subject {
  constructor(key) {
    this.now = null;
    this.seen = 0; // the number of the last step that is shown, or counted as missed
    this.steps = []; // oldest first: {at, head, tail}, or {missed}
    this.delivered = []; // [ms, how many], oldest first
    this.tab = $("tab").content.firstElementChild.cloneNode(true);
    this.tab.id = `tab-${key}`;
    this.tab.addEventListener("click", () => select(this));
  }

  // Take in what is told; return where it went since: [from, to], in order.
  hear(told) {
    const first = this.now === null;
    const since = this.seen;
    const fresh = told.steps.filter(([number]) => number > since);
    const missed = told.number - since - fresh.length;
    if (missed > 0 && !first) this.steps.push({ missed });
    this.steps.push(...fresh.map(([, at, head, tail]) => ({ at, head, tail })));
    this.steps.splice(0, this.steps.length - KEPT);
    this.seen = told.number;
    this.now = told;
    const at = performance.now();
    this.delivered.push([at, told.counts.delivered]);
    while (at - this.delivered[0][0] > WINDOW) this.delivered.shift();
    return first ? [] : told.taken.filter(([, , number]) => number > since);
  }

  rate() {
    const [from, before] = this.delivered[0];
    const [to, after] = this.delivered.at(-1);
    const rate = to > from ? ((after - before) * 1000) / (to - from) : 0;
    return rate < 10 ? rate.toFixed(1) : Math.round(rate);
  }
}

const subjects = new Map(); // by key
let selected = null;
let held = false;
let born = null;
let heard = 0;

// small tools

function say(element, text) {
  text = typeof text === "number" ? numbers.format(text) : text;
  if (element.textContent !== text) element.textContent = text;
}

function made(tag, ...texts) {
  const element = document.createElement(tag);
  for (const text of texts) {
    element.append(document.createElement("span"));
    element.lastChild.textContent = text;
  }
  return element;
}

// the picture

const pictures = new Map(); // by machine, as promises
const fading = new WeakMap();

async function draw(machine) {
  const answer = await fetch(`${machine}.svg`);
  if (!answer.ok) throw new Error(answer.statusText);
  const svg = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
  const { width, height } = svg.viewBox.baseVal;
  svg.removeAttribute("width");
  svg.removeAttribute("height");
  svg.style.setProperty("--width", width);
  svg.style.setProperty("--height", height);
  return document.importNode(svg, true);
}

async function showPicture() {
  const { machine } = selected.now;
  if (!pictures.has(machine)) pictures.set(machine, draw(machine));
  let svg;
  try {
    svg = await pictures.get(machine);
  } catch {
    pictures.delete(machine); // the next event tries again
    return;
  }
  if (selected?.now.machine !== machine) return;
  for (const element of svg.querySelectorAll(".flash")) element.classList.remove("flash");
  const figure = $("machine");
  figure.replaceChildren(svg);
  figure.scrollLeft = (figure.scrollWidth - figure.clientWidth) / 2;
  light();
}

function box(svg, state) {
  return svg.querySelector(`[id="${CSS.escape(state)}"]`);
}

function light() {
  const svg = $("machine").firstElementChild;
  if (!svg) return;
  const now = box(svg, selected.now.state);
  for (const element of svg.querySelectorAll(".lit")) if (element !== now) element.classList.remove("lit");
  now?.classList.add("lit");
}

function flash(svg, source, dest) {
  const arrow = source === dest ? [] : svg.getElementsByClassName(`${source}-${dest}`);
  for (const element of [...arrow, box(svg, dest)].filter(Boolean)) {
    element.classList.add("flash");
    clearTimeout(fading.get(element));
    fading.set(element, setTimeout(() => element.classList.remove("flash"), GLOW));
  }
}

function follow(ways) {
  const svg = $("machine").firstElementChild;
  if (!svg) return;
  ways.forEach(([source, dest], nth) => {
    setTimeout(() => flash(svg, source, dest), ways.length > FOLLOWED ? 0 : nth * STRIDE);
  });
}

// the words and numbers

function kind(now) {
  return `${now.reliable ? "reliable" : "at most once"} · ${now.type}`;
}

function showTab(subject) {
  const { tab, now } = subject;
  say(tab.querySelector(".name"), now.name);
  say(tab.querySelector(".state"), now.state);
  say(tab.querySelector(".kind"), kind(now));
  const lag = now.lag ? `, lag ${numbers.format(now.lag.messages)}` : `, ${numbers.format(now.counts.dropped)} dropped`;
  say(tab.querySelector(".brief"), `${numbers.format(now.counts.delivered)} delivered${lag}`);
  tab.dataset.code = now.why.code;
}

function showNow() {
  const { now } = selected;
  say($("state"), now.state);
  say($("sentence"), now.why.sentence);
  say($("ends"), `ends with ${now.why.ends_with}`);
  say($("trouble"), now.last_error ?? "");
  $("why").dataset.code = now.why.code;
  FIGURES.forEach(([, read], nth) => {
    const value = read(now, selected);
    const figure = $("figures").children[nth];
    figure.hidden = value === null;
    say(figure.lastChild, value ?? "");
  });
  const rows = now.consumers.map(({ name, session, active, waiting, holds }) => {
    const row = document.createElement("tr");
    const title = row.appendChild(document.createElement("th"));
    title.scope = "row";
    title.textContent = name;
    if (active && now.type !== "shared") title.append(made("small", " active"));
    for (const value of [session, holds ?? "–", waiting]) say(row.appendChild(document.createElement("td")), value);
    return row;
  });
  $("consumers").tBodies[0].replaceChildren(...rows);
  say($("others"), now.others ? `and ${numbers.format(now.others)} more` : "");
}

function showStory() {
  if (held) return;
  const lines = selected.steps.map(({ at, head, tail, missed }) => {
    const line = missed ? made("li", "", `${numbers.format(missed)} more`, "") : made("li", clock.format(at * 1000), head, tail);
    if (missed) line.className = "missed";
    return line;
  });
  $("steps").replaceChildren(...lines.reverse());
}

function hold(on) {
  held = on;
  $("hold").setAttribute("aria-pressed", String(on));
  $("hold").textContent = on ? "Go on" : "Hold";
  if (!on && selected) showStory();
}

// which one is shown

function select(subject) {
  selected = subject;
  for (const { tab } of subjects.values()) {
    const chosen = tab === subject?.tab;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
  $("panel").hidden = subject === null;
  if (subject === null) return;
  $("panel").setAttribute("aria-labelledby", subject.tab.id);
  history.replaceState(null, "", `#${encodeURIComponent(subject.now.name)}`);
  hold(false);
  showNow();
  $("machine").replaceChildren();
  showPicture();
}

function wanted() {
  const all = [...subjects.values()];
  return all.find(({ now }) => `#${encodeURIComponent(now.name)}` === location.hash) ?? all[0] ?? null;
}

$("tabs").addEventListener("keydown", (event) => {
  const tabs = [...subjects.values()];
  const here = tabs.indexOf(selected);
  const next = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: -1 }[event.key];
  if (next === undefined || !tabs.length) return;
  event.preventDefault();
  select(tabs.at(next % tabs.length));
  selected.tab.focus();
});

$("hold").addEventListener("click", () => hold(!held));
$("figures").append(
  ...FIGURES.map(([label]) => {
    const figure = document.createElement("div");
    figure.append(document.createElement("dt"), document.createElement("dd"));
    figure.firstChild.textContent = label;
    return figure;
  }),
);

// what comes in

function hear(told) {
  if (born !== null && told.born !== born) {
    location.reload(); // another process: its machines may be others
    return;
  }
  born = told.born;
  const keys = new Set(told.watched.map(({ key }) => key));
  let changed = false;
  for (const [key, { tab }] of subjects) {
    if (!keys.has(key)) {
      subjects.delete(key);
      tab.remove();
      changed = true;
    }
  }
  for (const each of told.watched) {
    let subject = subjects.get(each.key);
    if (subject === undefined) {
      subject = new Subject(each.key);
      subjects.set(each.key, subject);
      $("tabs").append(subject.tab);
      changed = true;
    }
    const before = subject.now?.why.code;
    const { seen } = subject;
    const ways = subject.hear(each);
    showTab(subject);
    if (before !== each.why.code && STUCK.includes(each.why.code)) say($("alarm"), `${each.name}: ${each.why.sentence}`);
    if (subject === selected) {
      showNow();
      if ($("machine").firstElementChild) light();
      else showPicture();
      follow(ways);
      if (subject.seen !== seen) showStory();
    }
  }
  $("nothing").hidden = subjects.size > 0;
  if (changed && !(selected && subjects.get(selected.now.key) === selected)) select(wanted());
}

function connection(text, lost) {
  say($("connection"), text);
  document.body.classList.toggle("lost", lost);
}

function connect() {
  const source = new EventSource("feed");
  source.onmessage = ({ data }) => {
    heard = performance.now();
    connection("live", false);
    hear(JSON.parse(data));
  };
  source.onerror = () => {
    source.close();
    heard = 0;
    connection("connection lost, trying again", true);
    setTimeout(connect, AGAIN);
  };
}

setInterval(() => {
  const silent = performance.now() - heard;
  if (heard && silent > SILENCE) connection(`no answer for ${Math.round(silent / 1000)} s: the program is busy or stopped`, true);
}, 500);

connect();
