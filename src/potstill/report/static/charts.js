// How scores are distributed: all classes about the real median, and one class on its own scale.

function offsets(arm) {
  return arm.means.flatMap((values, cls) => {
    const band = arm.bands[cls];
    return band ? values.filter(known).map((value) => value - band[1]) : [];
  });
}

function averageBand(arms) {
  const found = arms.flatMap((arm) => arm.bands.filter((band, cls) => band && arm.means[cls].some(known)));
  return found.length ? [0, 1, 2].map((level) => mean(found.map((band) => band[level] - band[1]))) : null;
}

function backdrop(x, band, marks, height) {
  const parts = marks.map((tick) => svg("line", { class: "gridline", x1: x(tick) + "%", x2: x(tick) + "%", y1: 0, y2: height }));
  if (band) {
    parts.unshift(svg("rect", { class: "band", x: x(band[0]) + "%", width: x(band[2]) - x(band[0]) + "%", y: 0, height }));
    parts.push(svg("line", { class: "median", x1: x(band[1]) + "%", x2: x(band[1]) + "%", y1: 0, y2: height }));
  }
  return parts;
}

function limits(values, band) {
  const all = [...values, ...(band || [])];
  const pad = (Math.max(...all) - Math.min(...all) || 0.02) * 0.06;
  return [Math.min(...all) - pad, Math.max(...all) + pad];
}

function lane(arm, note, drawing) {
  return el("div", { class: "lane" }, el("div", { class: "lane-head" }, named(armName(arm), arm.label), el("span", { class: "soft" }, note)), drawing);
}

function histogram(arm, values, x, [low, high], band, marks) {
  const [bins, height] = [36, 58];
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((bins * (value - low)) / (high - low)))]++;
  const most = Math.max(...counts);
  const drawn = counts.map((count, bin) => count && svg("rect", {
    class: "bin " + toneOf(armName(arm)), x: (100 * bin) / bins + 0.15 + "%", width: 100 / bins - 0.3 + "%",
    y: height - ((height - 6) * count) / most, height: ((height - 6) * count) / most,
  }, svg("title", {}, plural(count, "images")))).filter(Boolean);
  return svg("svg", { class: "chart", height, role: "img", "aria-label": arm.label + ": mean " + signedScore(mean(values)) },
    backdrop(x, band, marks, height), drawn);
}

function signedScore(value) {
  return (value > 0 ? "+" : "") + fixed(value, 3);
}

function drawAllScores() {
  const arms = data.arms.filter((arm) => offsets(arm).length);
  if (!arms.length) return;
  const band = averageBand(arms);
  const range = limits(arms.flatMap(offsets), band);
  const [x, marks] = [scale(...range), ticks(...range, 5)];
  put("scores-all", el("h3", {}, "All classes"),
    el("p", { class: "soft" }, "Mean concept score of an image, minus the median of real images of its class."),
    arms.map((arm) => {
      const values = offsets(arm);
      return lane(arm, "mean " + signedScore(mean(values)) + ", n = " + values.length, histogram(arm, values, x, range, band, marks));
    }),
    axis(x, marks));
}

// Dots one above another where they would touch, in the order of their values.
function stacked(values, x) {
  const last = [];
  return values.map((value, at) => ({ value, at })).sort((one, other) => one.value - other.value).map((one) => {
    let level = 0;
    while (last[level] !== undefined && x(one.value) - last[level] < 1.9 && level < 6) level++;
    last[level] = x(one.value);
    return { ...one, level };
  });
}

function strip(arm, place, x, band, marks) {
  const height = 58;
  const values = arm.means[state.cls].filter(known);
  const pictures = arm.images[state.cls];
  const shown = current();
  const dots = stacked(values, x).map(({ value, level }) => {
    const picture = pictures.find((one) => one.mean === value);
    const chosen = picture && shown.arm === place && shown.index === picture.index;
    const same = picture && shown.index === picture.index && arm.kind !== "random";
    const dot = mark(armName(arm), x(value) + "%", height - 9 - 8 * level, chosen ? 1.3 : 0.8);
    dot.classList.add("dot");
    if (chosen) dot.classList.add("chosen");
    else if (same) dot.classList.add("same");
    dot.append(svg("title", {}, (picture ? "image " + picture.index + ": " : "") + fixed(value, 3)));
    if (picture) dot.addEventListener("click", () => choose(place, picture.index));
    return dot;
  });
  dots.sort((one, other) => one.classList.contains("chosen") - other.classList.contains("chosen"));
  return svg("svg", { class: "chart strip", height, role: "img", "aria-label": arm.label + ": mean " + fixed(mean(values), 3) },
    backdrop(x, band, marks, height), dots);
}

function drawClassScores() {
  const rows = data.arms.map((arm, place) => ({ arm, place })).filter(({ arm }) => arm.means[state.cls].some(known));
  if (!rows.length) return put("scores-class");
  const band = (rows.find(({ arm }) => arm.bands[state.cls]) || { arm: { bands: [] } }).arm.bands[state.cls] || null;
  const range = limits(rows.flatMap(({ arm }) => arm.means[state.cls].filter(known)), band);
  const [x, marks] = [scale(...range), ticks(...range, 5)];
  return put("scores-class", el("h3", {}, "Class ", data.classes[state.cls].name),
    el("p", { class: "soft" }, "Mean concept score, one mark an image; click one to see it above."),
    rows.map(({ arm, place }) => {
      const values = arm.means[state.cls].filter(known);
      return lane(arm, "mean " + fixed(mean(values), 3) + ", n = " + values.length, strip(arm, place, x, arm.bands[state.cls] || band, marks));
    }),
    axis(x, marks));
}

function drawSpread() {
  const arms = data.arms.filter((arm) => arm.spread.some(known));
  const real = data.arms.find((arm) => arm.realSpread.some(known));
  if (!arms.length) return;
  const rows = arms.map((arm) => ({ node: named(armName(arm), arm.label), name: armName(arm), values: arm.spread }));
  if (real) rows.push({ node: el("span", {}, "real images"), name: null, values: real.realSpread });
  const overall = (row) => mean(row.values.filter(known));
  const x = scale(0, Math.max(...rows.flatMap((row) => row.values.filter(known))) * 1.02);
  const draw = (row) => svg("svg", { class: "spread", height: 22, "aria-hidden": "true" },
    real ? svg("line", { class: "median", x1: x(mean(real.realSpread.filter(known))) + "%", x2: x(mean(real.realSpread.filter(known))) + "%", y1: 0, y2: 22 }) : [],
    row.values.filter(known).map((value) => svg("line", { class: "single " + (row.name ? toneOf(row.name) : "tone-random"), x1: x(value) + "%", x2: x(value) + "%", y1: 5, y2: 17 })),
    row.name ? mark(row.name, x(overall(row)) + "%", 11) : []);
  put("spread", el("h3", {}, "Spread inside classes"),
    el("p", { class: "soft" }, "How far the images of a class lie apart; ticks are classes, the mark is their mean" + (real ? ", the line that of real images." : ".")),
    grid(["Arm", { content: "Spread", class: "wide" }, { content: "Mean", class: "number" }],
      rows.map((row) => [{ content: row.node, scope: "row" }, { content: draw(row), class: "wide" }, { content: String(Number(overall(row).toPrecision(3))), class: "number" }]),
      { label: "Spread inside classes" }));
}

function startScores() {
  if (!data.arms.some((arm) => arm.means.flat().some(known))) return;
  drawAllScores();
  drawSpread();
  const banded = data.arms.some((arm) => arm.bands.some(Boolean));
  put("scores-how", "A score is the cosine between an image and a concept phrase of its class." + (banded
    ? " The band holds " + (data.exactMeans ? "90 % of real images of the class (5 to 95 %)" : "about 90 % of real images of the class (the mean of its phrases' 5 and 95 % quantiles, as a rule an outer band)") + "; the line is their median. Inside the band is where images should be: more is not better."
    : " No scores of real images are on record."));
  listeners.push(drawClassScores);
}
