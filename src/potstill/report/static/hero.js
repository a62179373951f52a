// What it is, what came out of it, and how sure that is.

// The comparison the page opens with: most arms, then an unchanged protocol, then most images per class.
function leading() {
  const rank = (one) => [one.rows.length, one.changed ? 0 : 1, one.ipc];
  return data.comparisons.reduce((best, one) => {
    if (!best) return one;
    const [ours, theirs] = [rank(one), rank(best)];
    const place = ours.findIndex((value, at) => value !== theirs[at]);
    return place >= 0 && ours[place] > theirs[place] ? one : best;
  }, null);
}

function sentence(comparison) {
  const arm = data.arms[0];
  const name = arm ? arm.data.name : comparison && comparison.data;
  const per = comparison ? comparison.ipc : data.allColumns;
  const parts = [];
  if (arm) {
    const real = known(arm.data.train) ? ", " + plural(arm.data.train, "training images") : "";
    parts.push(
      (name ? name + " (" : "A data set (") + plural(data.allClasses, "classes") + real + ") distilled into " +
        plural(data.allColumns, "images") + " per class" +
        (data.names.length > 1 ? ", in " + data.names.length + " ways." : "."),
    );
  }
  if (comparison) {
    const test = arm && known(arm.data.test) ? plural(arm.data.test, "real test images") : "real test images";
    const cut = per !== data.allColumns && arm ? "on the first " + plural(per, "images") + " per class" : "on nothing else";
    parts.push("Students (" + comparison.student + ") were trained " + cut + " and tested on " + test + ".");
  }
  return parts.join(" ");
}

function verdictText(name, base, found) {
  const gap = signed(found.mean) + " points";
  if (found.verdict === "undecided") {
    return name + " differs from " + base + " by " + gap + " in the one pair of " + found.unit + " there is, which has no interval.";
  }
  const pairs = found.n + " pairs of " + found.unit + (found.unit === "students" ? ", from one set each: other sets may differ" : "");
  const range = "95 % interval " + span(found.low, found.high, signed);
  if (found.verdict === "no gain") {
    return name + " differs from " + base + " by " + gap + "; the " + range + " includes zero (" + pairs + ").";
  }
  const corrected = known(found.corrected) ? "; p = " + found.corrected.toPrecision(2) + " corrected for the comparisons made" : "";
  return name + " against " + base + ": " + gap + ", " + range + " (" + pairs + corrected + ").";
}

function verdictLine(word, text, kind) {
  return el(
    "p", { class: "verdict " + kind },
    el("strong", {}, word[0].toUpperCase() + word.slice(1) + "."), " ", text,
  );
}

function verdicts(comparison) {
  if (!comparison) return [verdictLine("not evaluated", "No student was trained on these sets yet.", "undecided")];
  const base = data.baseline;
  const found = comparison.differences[base] || {};
  const lines = comparison.rows
    .filter((row) => row.name !== base && row.name !== comparison.random)
    .map((row) => {
      const pair = found[row.name];
      if (!pair) return null;
      return verdictLine(pair.verdict, verdictText(row.name, base, pair), pair.verdict.replaceAll(" ", "-"));
    })
    .filter(Boolean);
  return lines.concat(realLine(comparison));
}

// A verdict in other words; one that a correction for many comparisons does not let stand still says so.
function reworded(verdict, words, between = "") {
  const [word, before] = verdict.split(" before");
  return words[word] + between + (before ? " before" + before : "");
}

const besideReal = { gain: "is above", loss: "is below", "no gain": "cannot be told apart from", undecided: "stands beside" };

// How the best made arm stands to random real images: the line that a distilled set has to pass.
function realLine(comparison) {
  const made = comparison.rows.filter((row) => row.name !== comparison.random);
  if (!comparison.random || !made.length) return [];
  const best = made.reduce((one, other) => (other.mean > one.mean ? other : one));
  const pair = comparison.differences[comparison.random][best.name];
  if (!pair) return [];
  const interval = known(pair.low) ? " (95 % interval " + span(pair.low, pair.high, signed) + ")" : "";
  return [
    el("p", { class: "verdict aside" },
      "The best of them, " + best.name + ", " + reworded(pair.verdict, besideReal, " random real images of the same number") + ": " +
        signed(pair.mean) + " points" + interval + "."),
  ];
}

// Dots with their 95 % interval on one scale; the numbers beside them are the same numbers.
function whiskers(rows) {
  const ends = rows.flatMap((row) => [row.mean, ...(row.interval || []), ...row.values]);
  const pad = (Math.max(...ends) - Math.min(...ends) || 0.02) * 0.08;
  const [low, high] = [Math.min(...ends) - pad, Math.max(...ends) + pad];
  const x = scale(low, high);
  const at = (value) => x(value) + "%";
  const marks = ticks(low, high, 4);
  const lines = () => marks.map((tick) => svg("line", { class: "gridline", x1: at(tick), x2: at(tick), y1: 0, y2: "100%" }));
  const draw = (row) => {
    const parts = lines();
    for (const value of row.values) {
      parts.push(svg("line", { class: "single " + toneOf(row.name), x1: at(value), x2: at(value), y1: 9, y2: 21 }));
    }
    if (row.interval) {
      const [from, to] = row.interval;
      parts.push(svg("line", { class: "whisker " + toneOf(row.name), x1: at(from), x2: at(to), y1: 15, y2: 15 }));
    }
    parts.push(mark(row.name, at(row.mean), 15, 1.1));
    return svg("svg", { class: "whiskers", height: 30, "aria-hidden": "true" }, parts);
  };
  return { draw, axis: axis(x, marks, 100) };
}

function headline(comparison) {
  const rowOf = (name) => comparison && comparison.rows.find((row) => row.name === name);
  const plot = comparison && whiskers(comparison.rows);
  const judged = data.summary.some((one) => known(one.complete));
  const timed = data.summary.some((one) => known(one.secondsPerImage));
  const head = ["Arm"];
  if (plot) head.push({ content: "Accuracy, %", class: "wide" }, { content: "Mean [95 %]", class: "number" });
  if (judged) head.push({ content: "Complete", class: "number" });
  if (timed) head.push({ content: "s per image", class: "number" });
  const rows = data.names.map((name) => {
    const row = rowOf(name);
    const one = summaryOf(name);
    const cells = [{ content: named(name), scope: "row" }];
    if (plot) {
      cells.push({ content: row ? plot.draw(row) : "not evaluated", class: "wide" });
      const interval = row && row.interval ? " [" + percent(row.interval[0]) + ", " + percent(row.interval[1]) + "]" : "";
      cells.push({
        content: row ? el("span", {}, el("b", { class: "big" }, percent(row.mean)), el("span", { class: "soft" }, interval)) : "",
        class: "number",
      });
    }
    if (judged) cells.push({ content: known(one.complete) ? percent(one.complete, 0) + " %" : "not scored", class: "number" });
    if (timed) cells.push({ content: known(one.secondsPerImage) ? seconds(one.secondsPerImage) : "", class: "number" });
    return cells;
  });
  for (const cells of rows) cells.forEach((cell, at) => { cell["data-label"] = head[at].content; });
  const shown = grid(head, rows, { class: "headline", label: "Headline numbers" });
  if (plot) {
    const foot = el("tr", { class: "foot" }, el("td"), el("td", { class: "wide" }, plot.axis));
    for (let left = head.length - 2; left > 0; left--) foot.append(el("td"));
    shown.querySelector("tbody").append(foot);
  }
  return shown;
}

function footnotes(comparison, notes) {
  const found = [];
  if (comparison) {
    const row = comparison.rows.reduce((one, other) => (other.values.length > one.values.length ? other : one));
    const counted = row.unit === "sets" ? "sets, each the mean of its students" : "students of one set";
    found.push("Dots: means; lines: 95 % intervals of the mean (Student's t); ticks: the single " + counted + ". " +
      comparison.caption + ".");
  }
  if (data.summary.some((one) => known(one.complete))) {
    found.push("Complete: the image's mean concept score is at least the 5 % quantile of real images of its class, which 95 % of real images reach" +
      (data.exactMeans ? "." : "; that quantile is approximated by the mean of its phrases' 5 % quantiles, as a rule a little lower than the true one."));
  }
  return notes.concat(found);
}

function drawHero() {
  const comparison = leading();
  document.getElementById("title").textContent = data.title;
  document.getElementById("sentence").textContent = sentence(comparison);
  put("verdicts", verdicts(comparison));
  if (data.names.length) put("headline", headline(comparison));
  put("notes", footnotes(comparison, data.notes).map((note) => el("li", {}, note)));
}
