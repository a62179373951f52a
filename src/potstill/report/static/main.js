// Starts every part, and the theme.

const THEMES = ["auto", "light", "dark"];

function remembered() {
  try { return localStorage.getItem("potstill-theme"); } catch { return null; }
}

function setTheme(theme) {
  const chosen = THEMES.includes(theme) ? theme : "auto";
  document.documentElement.dataset.theme = chosen;
  const button = document.getElementById("theme");
  button.textContent = "Theme: " + chosen;
  button.onclick = () => {
    const next = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
    try { localStorage.setItem("potstill-theme", next); } catch { /* a page from a file may have no storage */ }
    setTheme(next);
  };
}

function contents() {
  const shown = [...document.querySelectorAll("main section:not([hidden]) > h2")];
  put("contents", shown.map((head) => el("a", { href: "#" + head.parentElement.id }, head.textContent)));
}

setTheme(remembered());
drawHero();
startGallery();
startAccuracy();
drawFigures();
startScores();
drawCost();
drawSettings();
drawProvenance();
if (!document.getElementById("images").hidden) {
  listeners.push(drawDetail);
  showClass(0);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (width === window.innerWidth) return;
    width = window.innerWidth;
    changed("class");
  });
}
contents();
