// One image close up: its concepts against what real images of its class score, and the same image in other arms.

const PLACES = {
  within: { sign: "\u2713", text: "within the range of real images" },
  below: { sign: "\u2193", text: "below the range of real images" },
  above: { sign: "\u2191", text: "above the range of real images" },
};

function place(score, range) {
  if (!range) return null;
  return score < range[0] ? "below" : score > range[2] ? "above" : "within";
}

function verdictOfImage(picture) {
  if (picture.complete === null) return null;
  return picture.complete ? "complete" : "incomplete";
}

function figure(place, picture, chosen) {
  const arm = data.arms[place];
  const side = picture ? tileSide(picture.px, window.innerWidth < 720 ? 96 : 160) : 0;
  const facts = [];
  if (picture) {
    if (known(picture.mean)) {
      facts.push(el("span", {}, "mean ", el("b", { class: "mean" }, fixed(picture.mean, 3)), verdictOfImage(picture) ? ", " + verdictOfImage(picture) : ""));
    } else facts.push("not scored");
    if (known(picture.teacher)) facts.push("teacher " + percent(picture.teacher) + " %");
    if (known(picture.contrast)) facts.push("contrast " + fixed(picture.contrast, 2));
    facts.push(picture.source ? "real image " + picture.source : "seed " + picture.seed);
  }
  return el("figure", { class: "close" + (chosen ? " chosen" : ""), "data-arm": place },
    picture ? photo(picture, side, { alt: spoken(place, picture) }) : el("div", { class: "absent" }, "no such image"),
    el("figcaption", {}, named(armName(arm), arm.label), facts.map((fact) => el("span", { class: "soft" }, fact))));
}

// What a row needs: the phrase, its real range in the chosen arm, every arm's score of it.
function phraseRows(shown, pictures) {
  const own = pictures[shown.arm];
  const phrases = [...new Set([own, ...pictures].filter(Boolean).flatMap((one) => one.concepts))];
  return phrases.map((phrase) => {
    const scores = pictures.map((one) => {
      const at = one ? one.concepts.indexOf(phrase) : -1;
      return at < 0 ? null : one.scores[at];
    });
    const ranges = data.arms.map((arm) => arm.ranges[state.cls][phrase] || null);
    return { phrase, scores, ranges, range: ranges[shown.arm] || ranges.find(Boolean) || null };
  });
}

function domain(rows) {
  const all = rows.flatMap((row) => [...row.scores.filter(known), ...(row.range || [])]);
  const high = Math.max(...all, 0);
  return [Math.min(...all, 0), high * 1.04 || 1];
}

function bars(row, shown, x) {
  const at = (value) => x(value) + "%";
  const count = row.scores.filter(known).length;
  const height = Math.max(22, 9 * count + 8);
  const parts = [];
  if (row.range) {
    const [low, middle, high] = row.range;
    parts.push(svg("rect", { class: "band", x: at(low), width: x(high) - x(low) + "%", y: 1, height: height - 2 }));
    parts.push(svg("line", { class: "median", x1: at(middle), x2: at(middle), y1: 1, y2: height - 1 }));
  }
  let y = (height - 9 * count) / 2 + 1.5;
  row.scores.forEach((score, arm) => {
    if (!known(score)) return;
    const [from, to] = [Math.min(0, score), Math.max(0, score)];
    parts.push(svg("rect", {
      class: "score " + toneOf(armName(data.arms[arm])) + (arm === shown.arm ? " chosen" : ""), "data-arm": arm, "data-score": score,
      x: at(from), width: x(to) - x(from) + "%", y, height: 6,
    }));
    y += 9;
  });
  const line = svg("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: height });
  return svg("svg", { class: "bars", height, "aria-hidden": "true" }, parts, line);
}

function scoreCell(row, arm, shown) {
  const score = row.scores[arm];
  if (!known(score)) return { content: "", class: "number" };
  const where = place(score, row.ranges[arm]);
  return {
    content: el("span", {}, fixed(score, 3), where ? el("span", { class: "where " + where, title: PLACES[where].text }, PLACES[where].sign,
      el("span", { class: "hidden" }, " " + PLACES[where].text)) : null),
    class: "number" + (arm === shown.arm ? " chosen" : ""),
  };
}

function phraseTable(shown, pictures) {
  const rows = phraseRows(shown, pictures);
  if (!rows.length) return el("p", { class: "soft" }, "This image was not scored.");
  const [low, high] = domain(rows);
  const x = scale(low, high);
  const scored = data.arms.map((_, arm) => arm).filter((arm) => rows.some((row) => known(row.scores[arm])));
  const head = ["Concept", { content: "Cosine to the image", class: "wide" },
    ...scored.map((arm) => ({ content: el("span", { title: data.arms[arm].label }, key(armName(data.arms[arm])), el("span", { class: "hidden" }, data.arms[arm].label)), class: "number" }))];
  const table = grid(head, rows.map((row) => [
    { content: row.phrase, scope: "row", class: "phrase" },
    { content: bars(row, shown, x), class: "wide" },
    ...scored.map((arm) => scoreCell(row, arm, shown)),
  ]), { class: "concepts", label: "Concept scores" });
  table.querySelector("tbody").append(el("tr", { class: "foot" }, el("td"), el("td", { class: "wide" }, axis(x, ticks(low, high, 4))), scored.map(() => el("td"))));
  table.style.setProperty("--arms", scored.length);
  return el("div", {}, table, withinLine(rows, shown));
}

function withinLine(rows, shown) {
  const places = rows.map((row) => (known(row.scores[shown.arm]) ? place(row.scores[shown.arm], row.ranges[shown.arm]) : null)).filter(Boolean);
  if (!places.length) return el("p", { class: "legend" }, "No scores of real images are on record for this class.");
  const inside = places.filter((one) => one === "within").length;
  const rest = ["below", "above"].filter((one) => places.includes(one)).map((one) => places.filter((two) => two === one).length + " " + one);
  return el("p", { class: "legend" },
    el("b", { class: "within-count" }, inside + " of " + plural(places.length, "phrases") + " within range"), rest.length ? " (" + rest.join(", ") + ")" : "",
    ". ", el("span", { class: "swatch" }), " 5 to 95 % of real images of the class; ", el("span", { class: "swatch line" }), " their median.");
}

function negatives(picture) {
  if (!picture.negatives.length) return null;
  return el("div", { class: "negatives" }, el("h4", {}, "Pushed away from"),
    el("ul", {}, picture.negatives.map(([name, phrase]) => el("li", {}, el("b", {}, name), ": " + phrase))));
}

function drawDetail() {
  const shown = current();
  const pictures = data.arms.map((_, arm) => pictureAt(arm, shown.index));
  const picture = pictures[shown.arm];
  if (!picture) return put("detail");
  const place = put("detail",
    el("h3", {}, data.classes[state.cls].name + ", image " + picture.index, " ", named(armName(data.arms[shown.arm]), data.arms[shown.arm].label)),
    el("div", { class: "panel" },
      el("div", { class: "closeups" }, pictures.map((one, arm) => figure(arm, one, arm === shown.arm))),
      el("div", { class: "reading" }, phraseTable(shown, pictures), negatives(picture))));
  steady(place);
  return place;
}

// The panel never shrinks while one class is looked at, so that pointing does not move what is below.
let steadyFor = null;
function steady(place) {
  const now = state.cls + " at " + window.innerWidth;
  if (steadyFor !== now) place.style.minHeight = "";
  steadyFor = now;
  place.style.minHeight = Math.max(place.offsetHeight, parseFloat(place.style.minHeight) || 0) + "px";
}
