/* Sorting and filtering of a board's table, folding of fixed weights, and choosing columns and baseline. The state lives
   in the address's hash. The table is complete without scripts; rows are moved and hidden, never made. */
(function () {
  "use strict";
  const table = document.getElementById("board");
  if (!table) return;
  const sections = Array.from(table.tBodies).map((body) => ({
    body: body,
    name: body.dataset.section,
    head: body.querySelector("tr.group"),
    fold: body.querySelector("[data-fold]"),
    rows: Array.from(body.rows).filter((row) => !row.classList.contains("group")),
  }));
  const heads = Array.from(table.tHead.rows[1].cells);
  const ids = heads.map((head) => head.dataset.id);
  const form = document.getElementById("filters");
  const box = document.getElementById("filter");
  const checks = Array.from(form.querySelectorAll("input[type=checkbox]"));
  const count = document.getElementById("count");
  const nothing = document.getElementById("nothing");
  const baselines = Array.from(document.querySelectorAll("input.versus"));
  const style = document.head.appendChild(document.createElement("style"));
  const first = heads.findIndex((head) => head.hasAttribute("aria-sort"));
  const initial = { column: first, order: first < 0 ? "" : heads[first].getAttribute("aria-sort"), open: false };
  const shownAtFirst = new Set(checks.filter((c) => c.defaultChecked).map((c) => c.value));
  let state = Object.assign({}, initial);

  const baseline = () => (baselines.find((input) => input.checked) || { value: "" }).value;

  function value(row, column) {
    /* Rows of unfinished runs have one wide cell: their other columns are empty. */
    if (row.classList.contains("unfinished") && column > 1) return column === heads.length - 1 ? "0" : "";
    const cell = row.cells[column];
    return (ids[column] === "difference" ? cell.dataset[baseline()] : cell.dataset.value) || "";
  }

  function sorted(rows) {
    if (state.column < 0) return rows;
    const text = heads[state.column].dataset.sort === "text";
    const sign = state.order === "ascending" ? 1 : -1;
    const keyed = rows.map((row, place) => ({ row: row, place: place, key: value(row, state.column) }));
    keyed.sort(function (a, b) {
      const lacking = text ? 0 : (a.key === "") - (b.key === "");
      const gap = text ? a.key.localeCompare(b.key, "en") : Number(a.key) - Number(b.key);
      return lacking || (sign * gap || 0) || a.place - b.place;
    });
    return keyed.map((entry) => entry.row);
  }

  function arrange() {
    heads.forEach((head, i) => (i === state.column ? head.setAttribute("aria-sort", state.order) : head.removeAttribute("aria-sort")));
    sections.forEach((section) => section.body.append(...sorted(section.rows)));
  }

  function filter() {
    const words = box.value.toLowerCase().split(/[\s,;·]+/).filter(Boolean);
    let shown = 0;
    let total = 0;
    sections.forEach(function (section) {
      const folded = section.fold && !state.open && !words.length;
      let here = 0;
      section.rows.forEach(function (row) {
        const names = (value(row, 0) + " " + value(row, 1)).toLowerCase();
        const fits = words.every((word) => names.includes(word));
        here += fits;
        row.hidden = folded || !fits;
      });
      if (section.head) section.head.hidden = here === 0;
      if (section.fold) {
        section.fold.hidden = words.length > 0;
        section.fold.textContent = state.open ? "hide" : "show";
        section.fold.setAttribute("aria-expanded", String(state.open));
      }
      shown += here;
      total += section.rows.length;
    });
    count.textContent = shown + " of " + total + " rows";
    nothing.hidden = shown > 0;
    nothing.textContent = shown > 0 ? "" : "No row has all of: " + words.join(", ") + ". Reset shows all rows.";
    columns();
  }

  function columns() {
    const hidden = new Set(checks.filter((c) => !c.checked).map((c) => c.value));
    const places = ids.map((id, i) => (hidden.has(id) ? i + 1 : 0)).filter(Boolean);
    style.textContent = places
      .map((i) => "#board thead tr:last-child > :nth-child(" + i + "),#board tbody tr:not(.unfinished):not(.group) > :nth-child(" + i + "),#board tfoot tr > :nth-child(" + i + ")")
      .join(",");
    if (style.textContent) style.textContent += "{display:none}";
    /* The upper row of the head spans what is shown of the lower one. */
    let place = 0;
    Array.from(table.tHead.rows[0].cells).forEach(function (cell) {
      const width = Number(cell.dataset.width || (cell.dataset.width = cell.colSpan));
      const shown = ids.slice(place, place + width).filter((id) => !hidden.has(id)).length;
      place += width;
      cell.hidden = shown === 0;
      if (shown) cell.colSpan = shown;
    });
    const label = form.querySelector("[data-chosen]");
    label.textContent = checks.length - hidden.size + " of " + checks.length;
  }

  function save() {
    const parts = new URLSearchParams();
    if (state.column !== initial.column || state.order !== initial.order) parts.set("sort", ids[state.column] + ":" + state.order);
    if (box.value) parts.set("filter", box.value);
    if (state.open) parts.set("open", "1");
    if (baselines.length && !baselines[0].checked) parts.set("against", baseline());
    checks.filter((c) => c.checked !== shownAtFirst.has(c.value)).forEach((c) => parts.append(c.checked ? "show" : "hide", c.value));
    remember(parts);
  }

  function load() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const wanted = /^(.*):(ascending|descending)$/.exec(parts.get("sort") || "");
    state = Object.assign({}, initial, { open: parts.get("open") === "1" });
    if (wanted && ids.includes(wanted[1])) Object.assign(state, { column: ids.indexOf(wanted[1]), order: wanted[2] });
    box.value = parts.get("filter") || "";
    const chosen = baselines.find((input) => input.value === parts.get("against")) || baselines[0];
    if (chosen) chosen.checked = true;
    const shown = new Set(parts.getAll("show"));
    const hidden = new Set(parts.getAll("hide"));
    checks.forEach((c) => (c.checked = (shownAtFirst.has(c.value) || shown.has(c.value)) && !hidden.has(c.value)));
  }

  function refresh() {
    filter();
    arrange();
    save();
  }

  heads.forEach(function (head, column) {
    if (!head.dataset.sort) return;
    head.querySelectorAll(".head").forEach(function (words) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...words.childNodes);
      words.append(button);
      button.addEventListener("click", function () {
        const start = head.dataset.sort === "text" ? "ascending" : head.dataset.sort;
        const other = start === "ascending" ? "descending" : "ascending";
        Object.assign(state, { order: state.column === column && state.order === start ? other : start, column: column });
        arrange();
        save();
      });
    });
  });
  sections.forEach(function (section) {
    if (!section.fold) return;
    section.fold.addEventListener("click", function () {
      state.open = !state.open;
      refresh();
    });
  });
  baselines.forEach((input) => input.addEventListener("change", refresh));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", refresh);
  form.addEventListener("click", function (event) {
    const all = event.target.dataset.all !== undefined;
    if (!all && event.target.dataset.none === undefined) return;
    checks.forEach((c) => (c.checked = all));
    refresh();
  });
  form.addEventListener("reset", function () {
    state = Object.assign({}, initial);
    if (baselines.length) baselines[0].checked = true;
    /* The fields are reset after this event. */
    setTimeout(refresh);
  });
  window.addEventListener("hashchange", function () {
    if (!/=/.test(location.hash)) return;
    load();
    filter();
    arrange();
  });
  form.hidden = false;
  load();
  filter();
  arrange();
})();
