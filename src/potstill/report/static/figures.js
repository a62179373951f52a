// Figures that were drawn before and given to the page.

function drawFigures() {
  if (!data.figures.length) return;
  put("figures-body", data.figures.map((one) => el("figure", { class: "drawn" }, el("img", { src: one.src, alt: one.title }))));
}
