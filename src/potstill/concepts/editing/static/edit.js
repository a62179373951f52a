"use strict";
const token = new URLSearchParams(location.search).get("token");
const at = (id) => document.getElementById(id);
let bank = null, entry = null, chosen = null, turn = 0, last = Promise.resolve();
let validity = new Map(), rows = new Map();
const pens = new Map();  // phrases that are being reworded, and their inputs

// Elements are made of text nodes and attributes only: no word of a bank is ever read as markup.
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

async function call(path, asked) {
  const body = asked && JSON.stringify(asked);
  const reply = await fetch(path, { method: asked ? "POST" : "GET", headers: { "X-Potstill-Token": token }, body }).catch(() => {
    throw new Error("The command has stopped. Your edits are kept in a draft: start it again and open the new address.");
  });
  if (!reply.ok) throw new Error((await reply.json()).error);
  return reply;
}

async function ask(action, asked = {}) {
  return (await call("/api/" + action, asked)).json();
}

// Runs one thing after the other, in the order of the clicks, and shows what went wrong.
function attempt(work) {
  last = last.then(work).then(() => { at("trouble").hidden = true; }, trouble);
  return last;
}

function trouble(error) {
  at("trouble").textContent = error.message;
  at("trouble").hidden = false;
}

function showState(state, said = "") {
  const count = state.changed.length;
  if (state.changed.join("\n") !== bank.changed.join("\n")) queueMicrotask(showClasses);
  Object.assign(bank, state);
  const kept = count === 1 ? "1 class edited, not saved yet" : count + " classes edited, not saved yet";
  at("state").textContent = said || (count ? kept : "no unsaved edits");
  at("undo").disabled = !state.steps;
  at("save").disabled = !count;
  if (!state.offer) return;
  at("offer-text").textContent = "They are about " + state.offer.classes + (state.offer.classes === 1 ? " class." : " classes.") +
    (state.offer.stale ? " The bank has changed since they were made: where they are taken up, they replace what it now says." : "");
  if (!at("offer").open) at("offer").showModal();
}

function showClasses() {
  const wanted = at("search").value.trim().toLowerCase();
  const fitting = bank.classes.filter((one) => (one.name + "\n" + one.key).toLowerCase().includes(wanted));
  at("classes").replaceChildren(...fitting.map((one) => {
    const mark = (bank.changed.includes(one.key) ? "\u2022 " : "") + one.name;
    return el("option", { value: one.key, title: one.key, selected: entry !== null && entry.key === one.key }, mark);
  }));
}

function imagesOf(key) {
  return bank.classes.find((one) => one.key === key).images;
}

function showEntry(found, focus) {
  const held = document.activeElement;
  if (entry === null || found.key !== entry.key) {
    validity = new Map();
    pens.clear();
  }
  entry = found;
  at("classes").value = entry.key;
  at("name").textContent = entry.name;
  at("about").textContent = "key " + entry.key + (entry.alike.length ? " \u00b7 looks like " + entry.alike.join(", ") : "") +
    " \u00b7 " + (imagesOf(entry.key) ? "validity on " + imagesOf(entry.key) + " real images, as a cosine" : "no images of it in the data, so no validity");
  rows = new Map(entry.phrases.map((phrase, place) => [phrase, row(phrase, place)]));
  at("phrases").replaceChildren(...[...rows.values()].map((one) => one.line));
  for (const [phrase, input] of pens) {
    if (rows.has(phrase)) rows.get(phrase).phrase.replaceWith(input);
    else pens.delete(phrase);
  }
  choose(rows.has(chosen) ? chosen : null);
  showNumbers();
  if (imagesOf(entry.key)) judge(entry).catch(trouble);
  const target = focus && rows.get(focus.phrase);
  if ([...pens.values()].includes(held)) held.focus();
  else if (target && (held === document.body || !held.isConnected)) [target[focus.act], target.up, target.down, target.phrase].find((one) => !one.disabled).focus();
}

function row(phrase, place) {
  const end = entry.phrases.length - 1;
  const button = (text, label, act, work, disabled = false) =>
    el("button", { type: "button", "aria-label": label + ": " + phrase, title: label, disabled, onclick: work, "data-act": act }, text);
  const made = {
    bar: el("div"),
    number: el("span", { class: "number" }),
    phrase: el("button", { type: "button", class: "phrase", onclick: () => choose(phrase) }, phrase),
    up: button("\u2191", "Move up", "up", () => move(phrase, -1, "up"), place === 0),
    down: button("\u2193", "Move down", "down", () => move(phrase, 1, "down"), place === end),
    reword: button("Reword", "Reword", "reword", () => reword(phrase)),
    drop: button("Drop", "Drop", "drop", () => edit((now) => now.filter((one) => one !== phrase)), end === 0),
  };
  const acts = el("span", { class: "acts" }, made.up, made.down, made.reword, made.drop);
  made.line = el("li", {}, el("div", { class: "track" }, made.bar), made.number, made.phrase, acts);
  return made;
}

function showNumbers() {
  const most = Math.max(...validity.values(), 1e-9);
  for (const [phrase, one] of rows) {
    const value = validity.get(phrase);
    one.number.textContent = value === undefined ? (imagesOf(entry.key) ? "\u2026" : "") : value.toFixed(3).replace("-", "\u2212");
    one.bar.style.width = Math.max(0, 100 * (value || 0) / most) + "%";
  }
}

async function judge(mine) {
  await new Promise((go) => setTimeout(go, 100));  // whoever walks through the classes by arrow key is not waited for
  if (mine !== entry) return;
  const values = await ask("validity", { key: mine.key, phrases: mine.phrases });
  if (mine !== entry) return;
  validity = new Map(mine.phrases.map((phrase, place) => [phrase, values[place]]));
  showNumbers();
}

async function open(key) {
  const found = await ask("class", { key });
  chosen = null;
  showEntry(found.entry);
  showState(found);
}

function edit(change, focus, next = chosen) {
  return attempt(async () => {
    const found = await ask("edit", { key: entry.key, was: entry.phrases, phrases: change(entry.phrases) });
    chosen = next;
    showEntry(found.entry, focus);
    showState(found);
  });
}

function move(phrase, by, act) {
  edit((now) => {
    const place = now.indexOf(phrase), other = [...now];
    if (place + by < 0 || place + by >= now.length) return now;
    [other[place], other[place + by]] = [other[place + by], other[place]];
    return other;
  }, { phrase, act });
}

function reword(phrase) {
  const input = el("input", { maxlength: 127, value: phrase, "aria-label": "New words for: " + phrase });
  const put = () => {
    const words = input.value.trim();
    if (words === phrase) return back();
    edit((now) => now.map((one) => (one === phrase ? words : one)), { phrase: words, act: "reword" }, chosen === phrase ? words : chosen);
  };
  const back = () => {
    pens.delete(phrase);
    input.replaceWith(rows.get(phrase).phrase);
    rows.get(phrase).reword.focus();
  };
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();  // or it would press the button that gets the focus
      put();
    }
    if (event.key === "Escape") back();
  });
  if (pens.has(phrase)) return;
  pens.set(phrase, input);
  rows.get(phrase).phrase.replaceWith(input);
  input.select();
}

function figure(image, name) {
  const picture = el("img", { alt: image.id, title: image.id, width: 96, height: 96 });
  call("/image/" + image.row).then((reply) => reply.blob()).then((blob) => {
    picture.onload = () => { URL.revokeObjectURL(picture.src); picture.classList.toggle("crisp", picture.naturalWidth <= 64); };
    picture.src = URL.createObjectURL(blob);
  }).catch(trouble);
  return el("figure", { "data-row": image.row }, picture, image.score.toFixed(3).replace("-", "\u2212"), name ? el("div", { class: "soft" }, name) : "");
}

function choose(phrase) {
  const again = phrase !== null && phrase === at("images").dataset.phrase && entry.key === at("images").dataset.key;
  chosen = phrase;
  for (const [text, one] of rows) {
    one.line.classList.toggle("chosen", text === phrase);
    one.phrase.setAttribute("aria-pressed", text === phrase);
  }
  if (again) return;
  turn += 1;
  delete at("images").dataset.done;
  Object.assign(at("images").dataset, { phrase: phrase || "", key: entry.key });
  const hint = el("p", { class: "soft" }, "Choose a phrase to see the images that fit it best and least.");
  at("images").replaceChildren(...(imagesOf(entry.key) ? [hint] : []));
  if (phrase !== null && imagesOf(entry.key)) showImages(phrase, turn).catch(trouble);
}

async function showImages(phrase, mine) {
  const parts = [["highest", "Fit it best"], ["lowest", "Fit it least"], ["others", "Of other classes, fit it best"]].map(([id, text]) => ({
    note: el("span", { class: "soft" }, " \u2026"), text, tiles: el("div", { class: "tiles", "data-part": id }),
  }));
  at("images").replaceChildren(el("h2", {}, phrase), ...parts.flatMap((one) => [el("h3", {}, one.text, one.note), one.tiles]));
  const [highest, lowest, others] = parts;
  const asked = { key: entry.key, phrases: [phrase] };
  const own = await ask("ranked", { ...asked, of: entry.key });
  if (mine !== turn) return;
  highest.note.textContent = lowest.note.textContent = ", cosine";
  highest.tiles.append(...own.highest.map((one) => figure(one)));
  lowest.tiles.append(...own.lowest.map((one) => figure(one)));
  const near = await ask("near", { key: asked.key });
  let best = [];
  for (const [place, of] of near.entries()) {
    const found = await ask("ranked", { ...asked, of });
    if (mine !== turn) return;
    const name = bank.classes.find((one) => one.key === of).name;
    best = [...best, ...found.highest.map((one) => ({ ...one, name }))].sort((a, b) => b.score - a.score).slice(0, 6);
    others.note.textContent = ", looked at " + (place + 1) + " of the " + near.length + " nearest by name";
  }
  others.tiles.append(...best.map((one) => figure(one, one.name)));
  at("images").dataset.done = mine;
}

at("search").addEventListener("input", showClasses);
at("classes").addEventListener("change", () => attempt(() => open(at("classes").value)));
at("undo").addEventListener("click", () => attempt(async () => {
  const found = await ask("undo");
  showEntry(found.entry);
  showState(found);
}));
at("save").addEventListener("click", () => attempt(async () => showState(await ask("save"), "saved to " + bank.out)));
at("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = at("new").value.trim();
  at("new").focus();
  edit((now) => [...now, words]).then(() => {
    if (rows.has(words) && at("new").value.trim() === words) at("new").value = "";
  });
});
at("offer").addEventListener("cancel", (event) => event.preventDefault());
for (const [id, take] of [["take", true], ["throw", false]]) {
  at(id).addEventListener("click", () => attempt(async () => {
    await ask("draft", { take });
    at("offer").close();
    await open(entry.key);
  }));
}
attempt(async () => {
  bank = await ask("bank");
  at("bank").textContent = bank.name;
  at("classes").size = Math.max(2, bank.classes.length);
  at("save").title = "Save to " + bank.out;
  document.title = bank.name + " \u00b7 potstill concepts";
  await open(bank.classes[0].key);
  showClasses();
});
