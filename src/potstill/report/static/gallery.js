// The images: a row an arm, a column an index, one class at a time.

const state = { cls: 0, arm: 0, index: 0, peek: null };
const listeners = [];

function current() {
  return state.peek || state;
}

function pictureAt(arm, index, cls = state.cls) {
  return data.arms[arm].images[cls].find((one) => one.index === index) || null;
}

function changed(what) {
  for (const listener of listeners) listener(what);
}

// Whole multiples keep the pixels of small images square.
function tileSide(native, wanted) {
  return native <= 48 ? Math.max(1, Math.floor(wanted / native)) * native : wanted;
}

// The edge that lets all columns fit where it stays readable; narrow pages scroll.
function roomFor(columns) {
  if (window.innerWidth < 720) return 64;
  const width = document.querySelector("main").clientWidth - 48 - 166;
  return Math.min(128, Math.max(64, Math.floor(width / columns) - 6));
}

function photo(picture, side, attributes = {}) {
  return el("img", {
    src: picture.src, width: side, height: side, alt: "", decoding: "async", draggable: "false",
    class: picture.px <= 64 ? "crisp" : null, ...attributes,
  });
}

function spoken(arm, picture) {
  const words = [data.arms[arm].label, "class " + data.classes[state.cls].name, "image " + picture.index];
  if (known(picture.mean)) words.push("mean concept score " + fixed(picture.mean, 3));
  if (known(picture.complete)) words.push(picture.complete ? "complete" : "incomplete");
  return words.join(", ");
}

function choose(arm, index) {
  Object.assign(state, { arm, index, peek: null });
  changed("image");
}

function peek(arm, index) {
  state.peek = arm === null ? null : { arm, index };
  changed("image");
}

function showClass(cls) {
  const count = data.classes.length;
  state.cls = (cls + count) % count;
  state.peek = null;
  if (!pictureAt(state.arm, state.index)) {
    const arm = data.arms.findIndex((one) => one.images[state.cls].length);
    if (arm >= 0) Object.assign(state, { arm, index: data.arms[arm].images[state.cls][0].index });
  }
  changed("class");
}

function classButtons() {
  const tabs = data.classes.map((one, place) =>
    el("button", { type: "button", role: "tab", class: "class", id: "class-" + place, "aria-controls": "gallery",
      onclick: () => showClass(place) }, one.short));
  const list = el("div", { class: "classes", role: "tablist", "aria-label": "Class" }, tabs);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const target = step ? state.cls + step : { Home: 0, End: data.classes.length - 1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    showClass(target);
    tabs[state.cls].focus();
  });
  listeners.push(() => {
    tabs.forEach((tab, place) => {
      tab.setAttribute("aria-selected", String(place === state.cls));
      tab.tabIndex = place === state.cls ? 0 : -1;
    });
  });
  return list;
}

function classMenu() {
  const menu = el("select", { "aria-label": "Class", onchange: () => showClass(menu.selectedIndex) },
    data.classes.map((one) => el("option", {}, one.name === one.key ? one.name : one.name + " (" + one.key + ")")));
  listeners.push(() => { menu.selectedIndex = state.cls; });
  const turn = (step, text, label) =>
    el("button", { type: "button", class: "class", "aria-label": label, onclick: () => showClass(state.cls + step) }, text);
  return el("div", { class: "classes" }, turn(-1, "\u2190", "Previous class"), menu, turn(1, "\u2192", "Next class"));
}

// Arrows walk over the images; a row without that image is stepped over.
function walk(event, arm, index) {
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  const step = steps[event.key];
  if (event.key === "PageDown" || event.key === "PageUp") {
    event.preventDefault();
    showClass(state.cls + (event.key === "PageDown" ? 1 : -1));
    focusTile(state.arm, state.index);
    return;
  }
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  let [row, column] = [arm + step[0], index + step[1]];
  while (row >= 0 && row < data.arms.length && column >= 0 && column < data.columns) {
    if (pictureAt(row, column)) return focusTile(row, column);
    [row, column] = [row + step[0], column + step[1]];
  }
}

function focusTile(arm, index) {
  const tile = document.querySelector(`[data-arm="${arm}"][data-index="${index}"]`);
  if (tile) tile.focus();
}

function tile(arm, picture, side) {
  const flag = picture.complete === false ? el("span", { class: "flag", title: "below the range of real images" }, "\u2193") : null;
  return el("button", {
    type: "button", class: "tile " + toneOf(armName(data.arms[arm])), "data-arm": arm, "data-index": picture.index,
    "aria-label": spoken(arm, picture),
    onclick: () => choose(arm, picture.index),
    onfocus: () => peek(arm, picture.index),
    onpointerenter: (event) => { if (event.pointerType === "mouse") peek(arm, picture.index); },
    onkeydown: (event) => walk(event, arm, picture.index),
  }, photo(picture, side), flag);
}

function armHead(arm) {
  const parts = [];
  const judged = arm.means.flat().filter(known);
  if (arm.kind === "random") parts.push("real images, not the same ones");
  else parts.push("seed " + arm.seed);
  const inClass = arm.means[state.cls].filter(known);
  if (judged.length && inClass.length) parts.push("mean score " + fixed(mean(inClass), 3));
  return el("div", { class: "arm-head", role: "rowheader" }, named(armName(arm), arm.label), el("span", { class: "soft" }, parts.join(", ")));
}

function drawGallery() {
  const native = Math.max(...data.arms.flatMap((arm) => arm.images.flat().map((one) => one.px)), 1);
  const side = tileSide(native, roomFor(data.columns));
  const head = el("div", { class: "row head", role: "row" }, el("div", { role: "columnheader", class: "arm-head" }, el("span", { class: "soft" }, "image")),
    Array.from({ length: data.columns }, (_, index) => el("div", { class: "column", role: "columnheader" }, String(index))));
  const rows = data.arms.map((arm, place) => el("div", { class: "row", role: "row" }, armHead(arm),
    Array.from({ length: data.columns }, (_, index) => {
      const picture = pictureAt(place, index);
      return el("div", { role: "gridcell", class: "cell" }, picture ? tile(place, picture, side) : null);
    })));
  const table = el("div", { class: "grid", role: "grid", "aria-label": "Images of class " + data.classes[state.cls].name }, head, rows);
  table.style.setProperty("--side", side + "px");
  table.style.setProperty("--columns", data.columns);
  table.addEventListener("pointerleave", () => {
    if (state.peek && !table.contains(document.activeElement)) peek(null);
  });
  table.addEventListener("focusout", (event) => { if (!table.contains(event.relatedTarget)) peek(null); });
  put("gallery", el("div", { class: "scroll" }, table));
}

function markChosen() {
  const shown = current();
  for (const one of document.querySelectorAll(".tile")) {
    const [arm, index] = [Number(one.dataset.arm), Number(one.dataset.index)];
    const pinned = arm === state.arm && index === state.index;
    one.setAttribute("aria-pressed", String(pinned));
    one.tabIndex = pinned ? 0 : -1;
    one.classList.toggle("same", index === shown.index);
    one.classList.toggle("peeked", arm === shown.arm && index === shown.index);
  }
}

function cutNote() {
  const parts = [];
  if (data.columns < data.allColumns) parts.push("the first " + data.columns + " of " + plural(data.allColumns, "images") + " per class");
  if (data.classes.length < data.allClasses) parts.push("the first " + data.classes.length + " of " + plural(data.allClasses, "classes"));
  return parts.length ? " Shown: " + parts.join(", ") + "." : "";
}

function seedNote() {
  const made = data.arms.filter((arm) => arm.kind !== "random");
  if (made.length < 2) return "";
  const alike = made.every((arm) => arm.seed === made[0].seed);
  return alike
    ? "A column is one image of the same seed, so what differs between its rows is the method alone. "
    : "The rows have different seeds, so a column is not one image made in several ways. ";
}

function startGallery() {
  if (!data.classes.length || !data.arms.some((arm) => arm.images.flat().length)) return;
  const informed = data.arms.findIndex((arm) => arm.kind !== "random" && armName(arm) !== data.baseline);
  state.arm = Math.max(0, informed);
  put("images-how", seedNote() + "Point at an image for its concepts, click to keep it; arrow keys walk, PageUp and PageDown change the class." + cutNote());
  put("classes", data.classes.length > 24 ? classMenu() : classButtons());
  listeners.unshift((what) => { if (what === "class") drawGallery(); });
  listeners.push(markChosen);
  document.addEventListener("keydown", (event) => {
    const busy = event.target.closest("button, select, input, a, [tabindex]") || event.altKey || event.ctrlKey || event.metaKey;
    if (busy || (event.key !== "ArrowLeft" && event.key !== "ArrowRight")) return;
    showClass(state.cls + (event.key === "ArrowRight" ? 1 : -1));
  });
}
