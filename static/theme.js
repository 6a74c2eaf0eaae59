// Runs before the first paint, so that a remembered theme never flashes. A plain script: a module would come too late.
(() => {
  const key = "tunedeck-theme";
  const root = document.documentElement;
  let chosen = "";
  try {
    chosen = localStorage.getItem(key) ?? "";
  } catch {
    // storage may be forbidden: follow the system
  }
  const apply = () => {
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
  };
  apply();

  document.addEventListener("DOMContentLoaded", () => {
    for (const group of document.querySelectorAll("[data-theme-switch]")) {
      const show = () => {
        for (const button of group.children) button.setAttribute("aria-pressed", String(button.value === chosen));
      };
      group.hidden = false;
      show();
      group.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (!button) return;
        chosen = button.value;
        try {
          localStorage.setItem(key, chosen);
        } catch {
          // remembered for this page only
        }
        apply();
        show();
        document.dispatchEvent(new Event("themechange"));
      });
    }
  });
})();
