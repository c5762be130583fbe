// Runs before the first paint: the theme chosen earlier, or what the system prefers (then nothing is set here).
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("losscast-theme");
  } catch (blocked) {
    // Storage can be forbidden; the system's preference then decides.
  }
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
})();
