/* Keeps what a reader chose in the page's address, for the scripts that come after this one. */
function remember(parts) {
  const hash = parts.toString();
  try {
    history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
  } catch (error) {
    /* Some browsers refuse this for files; the state is then not kept. */
  }
}

/* Light, dark, or as the system says. Runs before the page is drawn; without scripts the system decides. */
(function () {
  "use strict";
  const names = ["auto", "light", "dark"];
  const root = document.documentElement;
  let choice = "auto";
  try {
    choice = localStorage.getItem("mtbench-theme") || "auto";
  } catch (error) {
    /* Some browsers keep nothing for files; the choice then holds for one page. */
  }
  function apply() {
    if (choice === "light" || choice === "dark") root.dataset.theme = choice;
    else delete root.dataset.theme;
  }
  apply();
  document.addEventListener("DOMContentLoaded", function () {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "theme";
    function label() {
      button.textContent = "Theme: " + choice;
    }
    label();
    button.addEventListener("click", function () {
      choice = names[(names.indexOf(choice) + 1) % names.length];
      apply();
      label();
      try {
        localStorage.setItem("mtbench-theme", choice);
      } catch (error) {
        /* See above. */
      }
    });
    document.querySelector(".top").append(button);
  });
})();
