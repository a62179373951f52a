// Accuracy in full: every protocol, every pair, against a baseline of the reader's choice.

const chosenTable = { comparison: 0, baseline: data.baseline };

// Random real images are no method, so they neither gain nor lose: they lie above or below.
const besideMade = { gain: "above", loss: "below", "no gain": "not told apart", undecided: "undecided" };

function differenceCells(pair, real) {
  if (pair === undefined) return [{ content: "baseline", class: "number soft" }, ""];
  if (pair === null) return [{ content: "no set in common", class: "number soft" }, ""];
  const range = known(pair.low) ? " [" + signed(pair.low) + ", " + signed(pair.high) + "]" : "";
  return [
    { content: el("span", {}, signed(pair.mean), el("span", { class: "soft" }, range + ", " + pair.n + " " + pair.unit)), class: "number" },
    el("span", { class: "word " + (real ? "" : pair.verdict.replaceAll(" ", "-")) }, real ? reworded(pair.verdict, besideMade) : pair.verdict),
  ];
}

function accuracyTable(comparison) {
  const base = comparison.differences[chosenTable.baseline] ? chosenTable.baseline : comparison.rows[0].name;
  const random = comparison.random && comparison.random !== base ? comparison.random : null;
  const head = ["Arm", { content: "Mean, %", class: "number" }, { content: "sd", class: "number" }, { content: "n", class: "number" },
    { content: "95 % interval", class: "number" }];
  if (comparison.rows.length > 1) head.push({ content: "minus " + base, class: "number" }, "");
  if (random) head.push({ content: "minus random real", class: "number" });
  const rows = comparison.rows.map((row) => {
    const cells = [{ content: named(row.name), scope: "row" }, { content: el("b", {}, percent(row.mean)), class: "number" },
      { content: known(row.deviation) ? percent(row.deviation) : "\u2013", class: "number" },
      { content: plural(row.sets, "sets") + " \u00d7 " + Number(row.students.toFixed(1)), class: "number" },
      { content: row.interval ? percent(row.interval[0]) + " to " + percent(row.interval[1]) : "\u2013", class: "number" }];
    if (comparison.rows.length > 1) cells.push(...differenceCells(row.name === base ? undefined : comparison.differences[base][row.name], row.name === comparison.random || base === comparison.random));
    if (random) cells.push(row.name === random ? { content: "\u2013", class: "number" } : differenceCells(comparison.differences[random][row.name])[0]);
    return cells;
  });
  return grid(head, rows, { class: "accuracy", label: "Accuracies and paired differences" });
}

function picker(label, options, selected, change) {
  const menu = el("select", { onchange: () => change(menu.selectedIndex) }, options.map((one, at) => el("option", { selected: at === selected }, one)));
  return el("label", { class: "picker" }, el("span", {}, label), menu);
}

function drawAccuracy() {
  if (!data.comparisons.length) return;
  const comparison = data.comparisons[chosenTable.comparison];
  const bases = comparison.rows.map((row) => row.name);
  const controls = [];
  if (data.comparisons.length > 1) {
    controls.push(picker("Protocol", data.comparisons.map((one) => one.caption), chosenTable.comparison, (at) => { chosenTable.comparison = at; drawAccuracy(); }));
  }
  if (bases.length > 1) {
    controls.push(picker("Compare with", bases, Math.max(0, bases.indexOf(chosenTable.baseline)), (at) => { chosenTable.baseline = bases[at]; drawAccuracy(); }));
  }
  const focused = document.activeElement && document.activeElement.closest("#accuracy-body label");
  const at = focused ? [...document.querySelectorAll("#accuracy-body label")].indexOf(focused) : -1;
  put("accuracy-body", controls.length ? el("div", { class: "controls" }, controls) : null, data.comparisons.length > 1 ? null : el("p", { class: "how" }, comparison.caption + "."),
    comparison.changed ? el("p", { class: "warning" }, "\u2605 The protocol was changed, so these numbers do not compare with published ones.") : null,
    accuracyTable(comparison),
    el("p", { class: "legend" }, "Mean, sd (sample, n \u2212 1) and interval are over sets where an arm has several, else over the students of its one set. Differences are paired by the seed of the set, or of the student; a gain or loss is one whose 95 % interval leaves out zero; it says so where Holm's correction for the differences from one arm does not let it stand."));
  if (at >= 0) document.querySelectorAll("#accuracy-body label")[at].querySelector("select").focus();
}

function startAccuracy() {
  chosenTable.comparison = Math.max(0, data.comparisons.indexOf(leading()));
  drawAccuracy();
}
