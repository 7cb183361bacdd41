/* Which methods' pictures stand side by side. The check boxes do it by themselves, in the page's style; this keeps their
   state in the address's hash, counts what is chosen, and chooses all or none of an architecture. */
(function () {
  "use strict";
  const form = document.getElementById("picker");
  if (!form) return;
  const boxes = Array.from(form.querySelectorAll("input[type=checkbox]"));
  const label = form.querySelector("[data-count]");
  function count() {
    label.textContent = boxes.filter((box) => box.checked).length + " of " + boxes.length;
  }
  function save() {
    const parts = new URLSearchParams();
    boxes.forEach(function (box) {
      if (box.checked !== box.defaultChecked) parts.append(box.checked ? "show" : "hide", box.value);
    });
    remember(parts);
  }
  function load() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const shown = new Set(parts.getAll("show"));
    const hidden = new Set(parts.getAll("hide"));
    boxes.forEach((box) => (box.checked = box.defaultChecked ? !hidden.has(box.value) : shown.has(box.value)));
    count();
  }
  function refresh() {
    count();
    save();
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", refresh);
  /* The boxes are reset after this event. */
  form.addEventListener("reset", () => setTimeout(refresh));
  form.addEventListener("click", function (event) {
    const button = event.target.closest("[data-all], [data-none]");
    if (!button) return;
    const all = "all" in button.dataset;
    button.closest("fieldset").querySelectorAll("input").forEach((box) => (box.checked = all));
    refresh();
  });
  window.addEventListener("hashchange", function () {
    if (/=/.test(location.hash)) load();
  });
  form.querySelectorAll("[data-scripted]").forEach((part) => (part.hidden = false));
  load();
})();
