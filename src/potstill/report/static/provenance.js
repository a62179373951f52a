// What it took and what it was made with.

function written(value) {
  if (value === undefined) return "\u2013";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function armHeads() {
  return data.arms.map((arm) => named(armName(arm), arm.label));
}

function ratio(value) {
  return (value < 0.01 ? "< 0.01" : fixed(value, 2)) + " \u00d7";
}

function drawCost() {
  const arms = data.arms.filter((arm) => known(arm.secondsPerImage) || known(arm.memory));
  if (!arms.length) return;
  const base = arms.find((arm) => armName(arm) === data.baseline && arm.secondsPerImage);
  const most = Math.max(...arms.map((arm) => arm.secondsPerImage || 0)) || 1;
  const head = ["Arm", { content: "Seconds per image", class: "wide" }, { content: "", class: "number" },
    ...(base ? [{ content: "ratio to " + base.label, class: "number" }] : []), { content: "total, s", class: "number" },
    { content: "images", class: "number" }, { content: "peak memory, GiB", class: "number" }, "device"];
  const rows = arms.map((arm) => {
    const time = arm.secondsPerImage;
    return [{ content: named(armName(arm), arm.label), scope: "row" },
      { content: svg("svg", { class: "cost", height: 18, "aria-hidden": "true" }, svg("rect", { class: "score chosen " + toneOf(armName(arm)), x: 0, y: 5, height: 8, width: (100 * (time || 0)) / most + "%" })), class: "wide" },
      { content: known(time) ? el("b", {}, seconds(time)) : "\u2013", class: "number" },
      ...(base ? [{ content: known(time) ? ratio(time / base.secondsPerImage) : "\u2013", class: "number" }] : []),
      { content: known(arm.seconds) ? seconds(arm.seconds) : "\u2013", class: "number" },
      { content: String(arm.count), class: "number" },
      { content: known(arm.memory) ? fixed(arm.memory, 2) : "\u2013", class: "number" }, arm.device || "\u2013"];
  });
  put("cost-body", grid(head, rows, { class: "costs", label: "Time and memory" }),
    el("p", { class: "legend" }, "Making of images alone, without loading models. Memory is the process's peak."));
}

function drawSettings() {
  if (!data.arms.length) return;
  const names = [...new Set(data.arms.flatMap((arm) => Object.keys(arm.settings)))];
  const differs = (name) => new Set(data.arms.map((arm) => written(arm.settings[name]))).size > 1;
  // A setting that an arm lacks differs too, but only values set against each other are coloured.
  const disputed = (name) => new Set(data.arms.filter((arm) => name in arm.settings).map((arm) => written(arm.settings[name]))).size > 1;
  const rows = names.map((name) => [{ content: el("code", {}, name), scope: "row", class: differs(name) ? null : "alike" },
    ...data.arms.map((arm) => ({ content: el("code", {}, written(arm.settings[name])), class: disputed(name) ? "differs" : null }))]);
  const table = grid(["Setting", ...armHeads()], rows, { class: "settings", label: "Settings of each arm" });
  const box = el("input", { type: "checkbox", onchange: () => table.classList.toggle("only", box.checked) });
  const worth = data.arms.length > 1 && names.some(differs);
  put("settings-body", worth ? el("label", { class: "picker" }, box, el("span", {}, "only what differs")) : null, table);
}

function drawProvenance() {
  if (!data.arms.length) return;
  const packages = [...new Set(data.arms.flatMap((arm) => Object.keys(arm.versions)))];
  const hashes = [...new Map(data.arms.flatMap((arm) => arm.weights.map((one) => [JSON.stringify(one), one]))).values()];
  const used = (one) => data.arms.filter((arm) => arm.weights.some((other) => other[0] === one[0] && other[1] === one[1]));
  put("provenance-body",
    packages.length ? el("div", {}, el("h3", {}, "Versions"), grid(["Package", ...armHeads()],
      packages.map((name) => [{ content: name, scope: "row" }, ...data.arms.map((arm) => arm.versions[name] || "\u2013")]), { class: "versions", label: "Versions" })) : null,
    hashes.length ? el("div", {}, el("h3", {}, "Weights"), grid(["Model", "SHA-256", "used by"],
      hashes.map((one) => [{ content: one[0], scope: "row" }, el("code", { class: "hash" }, one[1]), el("span", { class: "users" }, used(one).map((arm) => named(armName(arm), arm.label)))]),
      { class: "weights", label: "Weights and their hashes" })) : el("p", { class: "soft" }, "No weights are on record."));
}
