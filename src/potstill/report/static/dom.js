// Building blocks: elements made of text nodes only, numbers as they are printed, marks of the arms.

const data = JSON.parse(document.getElementById("payload").textContent);
const SVG = "http://www.w3.org/2000/svg";
const MINUS = "\u2212";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function put(id, ...children) {
  const place = document.getElementById(id);
  place.replaceChildren(...children.flat().filter(Boolean));
  const section = place.closest("section");
  if (section && children.length) section.hidden = false;
  return place;
}

function fixed(value, digits) {
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", MINUS);
}

function percent(fraction, digits = 1) {
  return fixed(100 * fraction, digits);
}

function signed(fraction) {
  const text = percent(Math.abs(fraction));
  return text === "0.0" ? "0.0" : (fraction < 0 ? MINUS : "+") + text;
}

function span(low, high, print) {
  return print(low) + " to " + print(high);
}

function seconds(value) {
  if (value >= 100) return fixed(value, 0);
  return value >= 10 ? fixed(value, 1) : value >= 0.1 ? fixed(value, 2) : Number(value.toPrecision(2)).toString();
}

function plural(count, noun) {
  if (count === 1 && noun.endsWith("s")) return "1 " + noun.slice(0, -1);
  return String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f") + " " + noun;
}

function known(value) {
  return value !== null && value !== undefined;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

// Colour and shape both tell an arm; random real images are always the grey square.
const tones = (() => {
  let next = 0;
  return data.summary.map((one) => (one.random ? "random" : String(next++ % 6)));
})();
const SHAPES = {
  0: "circle", 1: "diamond", 2: "triangle", 3: "cross", 4: "down", 5: "bar", random: "square",
};
const PATHS = {
  diamond: "M0 -5.6L5.6 0L0 5.6L-5.6 0Z",
  triangle: "M0 -5.4L5.2 4L-5.2 4Z",
  down: "M0 5.4L5.2 -4L-5.2 -4Z",
  cross: "M-4.6 -2L-2 -4.6L0 -2.4L2 -4.6L4.6 -2L2.4 0L4.6 2L2 4.6L0 2.4L-2 4.6L-4.6 2L-2.4 0Z",
  bar: "M-2.4 -5.4H2.4V5.4H-2.4Z",
  square: "M-4 -4H4V4H-4Z",
};

function toneOf(name) {
  return "tone-" + tones[data.names.indexOf(name)];
}

// A mark at (x, y) inside an svg whose x runs in per cent: a nested svg carries the shape.
function mark(name, x, y, size = 1) {
  const shape = SHAPES[tones[data.names.indexOf(name)]];
  const drawn = shape === "circle" ? svg("circle", { r: 4.6 }) : svg("path", { d: PATHS[shape] });
  drawn.setAttribute("transform", "scale(" + size + ")");
  return svg("svg", { x, y, overflow: "visible", class: "mark " + toneOf(name) }, drawn);
}

function key(name) {
  const picture = svg("svg", { class: "key", width: 14, height: 14, "aria-hidden": "true" });
  picture.append(mark(name, 7, 7));
  return picture;
}

function named(name, text = name) {
  return el("span", { class: "named" }, key(name), el("span", {}, text));
}

function summaryOf(name) {
  return data.summary[data.names.indexOf(name)];
}

function armName(arm) {
  return data.names[arm.name];
}

function scale(low, high) {
  return (value) => (100 * (value - low)) / (high - low || 1);
}

// Round steps for an axis: about `wanted` ticks from low to high.
function ticks(low, high, wanted = 5) {
  const rough = (high - low || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) found.push(n * step);
  return found;
}

// The labels under a scale, all with as many decimals as the longest needs.
function axis(x, marks, factor = 1) {
  const plain = marks.map((tick) => Number((tick * factor).toFixed(6)));
  const digits = Math.max(0, ...plain.map((one) => (String(one).split(".")[1] || "").length));
  return svg("svg", { class: "axis", height: 20, "aria-hidden": "true" }, plain.map((one, at) =>
    svg("text", { x: x(marks[at]) + "%", y: 14, "text-anchor": x(marks[at]) < 1 ? "start" : "middle" }, fixed(one, digits))));
}

// Rows of cells; a cell is text, a node, or {text|node, class, head}.
function grid(head, rows, options = {}) {
  const cell = (tag, value) => {
    if (value instanceof Node || typeof value === "string") return el(tag, {}, value);
    const { content, ...attributes } = value;
    return el(attributes.scope ? "th" : tag, attributes, content);
  };
  return el(
    "div",
    { class: "scroll " + (options.class || ""), tabindex: 0, role: "group", "aria-label": options.label },
    el(
      "table",
      {},
      options.caption ? el("caption", {}, options.caption) : null,
      el("thead", {}, el("tr", {}, head.map((one) => {
        const node = cell("th", one);
        node.setAttribute("scope", "col");
        return node;
      }))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((one) => cell("td", one))))),
    ),
  );
}
