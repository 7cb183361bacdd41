/* One map at a time; which one is in the address's hash. Without scripts all are shown. */
(function () {
  "use strict";
  const choice = document.getElementById("measure");
  const maps = Array.from(document.querySelectorAll(".heat"));
  if (!choice || !maps.length) return;
  function show() {
    maps.forEach((map) => (map.hidden = map.dataset.id !== choice.value));
  }
  function load() {
    const wanted = new URLSearchParams(location.hash.slice(1)).get("by");
    choice.value = maps.some((map) => map.dataset.id === wanted) ? wanted : maps[0].dataset.id;
    show();
  }
  choice.addEventListener("change", function () {
    show();
    remember(new URLSearchParams({ by: choice.value }));
  });
  window.addEventListener("hashchange", load);
  document.getElementById("chooser").hidden = false;
  load();
})();
