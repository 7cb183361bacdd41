/* Sorting, filtering and grouping of a board's table, and choosing its columns. The state lives in the address's hash.
   The table is complete without scripts; rows are moved and hidden, never made. */
(function () {
  "use strict";
  const table = document.getElementById("board");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[1].cells);
  const ids = heads.map((head) => head.dataset.id);
  const form = document.getElementById("filters");
  const box = document.getElementById("filter");
  const grouping = document.getElementById("group");
  const checks = Array.from(form.querySelectorAll("input[type=checkbox]"));
  const count = document.getElementById("count");
  const style = document.head.appendChild(document.createElement("style"));
  const first = heads.findIndex((head) => head.hasAttribute("aria-sort"));
  const initial = { column: first, order: first < 0 ? "" : heads[first].getAttribute("aria-sort") };
  let state = Object.assign({}, initial);
  /* A browser lays out some dozens of moved rows in no time, and hundreds in a quarter of a second: of a long table those
     in sight come first, the rest while the reader looks. */
  const chunk = rows.length > 150 ? 40 : Infinity;
  const wanted = new Set(rows);
  let finish = () => false;

  const whole = rows.map((row) => row.cells.length === heads.length);
  const values = rows.map((row, r) =>
    /* Rows of unfinished runs have one wide cell: their other columns are empty. */
    heads.map((head, i) => (whole[r] || i < 2 ? row.cells[i].dataset.value || "" : i === heads.length - 1 ? "0" : ""))
  );

  function order() {
    const places = rows.map((row, i) => i);
    if (state.column < 0) return places;
    const text = heads[state.column].dataset.sort === "text";
    const sign = state.order === "ascending" ? 1 : -1;
    const keys = values.map((line) => (text ? line[state.column] : Number(line[state.column])));
    const empty = values.map((line) => !text && line[state.column] === "");
    return places.sort(function (a, b) {
      if (empty[a] || empty[b]) return empty[a] - empty[b] || a - b;
      const gap = text ? keys[a].localeCompare(keys[b], "en") : keys[a] - keys[b];
      return sign * gap || a - b;
    });
  }

  function arrange() {
    heads.forEach((head, i) => (i === state.column ? head.setAttribute("aria-sort", state.order) : head.removeAttribute("aria-sort")));
    body.querySelectorAll("tr.group").forEach((row) => row.remove());
    const places = order();
    const field = grouping.value === "architecture" ? "a" : grouping.value === "weighting" ? "w" : "";
    if (!field) return lay(places.map((i) => rows[i]));
    const lines = [];
    const groups = new Map();
    places.forEach(function (i) {
      const name = rows[i].dataset[field];
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(rows[i]);
    });
    groups.forEach(function (members, name) {
      const row = document.createElement("tr");
      row.className = "group";
      const cell = row.appendChild(document.createElement("th"));
      cell.colSpan = heads.length;
      cell.scope = "rowgroup";
      cell.textContent = name === "none" ? "no weighting" : name;
      if (members.some((member) => wanted.has(member))) lines.push(row);
      lines.push(...members);
    });
    lay(lines);
  }

  /* Bring the body to these lines, in this order, in steps that keep the page responsive. */
  function lay(lines) {
    rows.forEach((row) => (row.hidden = row.hidden || !wanted.has(row)));
    let next = 0;
    let place = body.firstChild;
    finish = function (most) {
      for (let moved = 0; next < lines.length && moved < most; next += 1) {
        const line = lines[next];
        const shown = line.className === "group" || wanted.has(line);
        let changed = false;
        if (line === place) place = place.nextSibling;
        else {
          body.insertBefore(line, place);
          changed = shown;
        }
        if (shown && line.hidden) {
          line.hidden = false;
          changed = true;
        }
        if (changed) moved += 1;
      }
      const busy = next < lines.length;
      if (busy) table.setAttribute("aria-busy", "true");
      else table.removeAttribute("aria-busy");
      return busy;
    };
    const own = finish;
    (function step() {
      if (finish === own && own(chunk)) requestAnimationFrame(() => setTimeout(step));
    })();
  }

  function off(field) {
    return new Set(checks.filter((c) => !c.checked && c.dataset.field === field).map((c) => c.value));
  }

  function filter() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const a = off("architecture");
    const w = off("weighting");
    wanted.clear();
    rows.forEach(function (row, i) {
      const names = (values[i][0] + " " + values[i][1]).toLowerCase();
      if (!a.has(row.dataset.a) && !w.has(row.dataset.w) && words.every((word) => names.includes(word))) wanted.add(row);
    });
    count.textContent = wanted.size + " of " + rows.length + " rows";
    const hidden = off("column");
    style.textContent = ids
      .map((id, i) =>
        hidden.has(id)
          ? "#board thead tr:last-child > :nth-child(" + (i + 1) + "),#board tbody tr:not(.unfinished):not(.group) > :nth-child(" + (i + 1) + ")"
          : ""
      )
      .filter(Boolean)
      .join(",");
    if (style.textContent) style.textContent += "{display:none}";
    spans(hidden);
    form.querySelectorAll("[data-chosen]").forEach(function (label) {
      const all = checks.filter((c) => c.dataset.field === label.dataset.chosen);
      const chosen = all.filter((c) => c.checked).length;
      label.textContent = chosen === all.length ? "all " + all.length : chosen + " of " + all.length;
    });
  }

  /* The upper row of the head spans what is shown of the lower one. */
  function spans(hidden) {
    let place = 0;
    Array.from(table.tHead.rows[0].cells).forEach(function (cell) {
      const width = Number(cell.dataset.width || (cell.dataset.width = cell.colSpan));
      const shown = ids.slice(place, place + width).filter((id) => !hidden.has(id)).length;
      place += width;
      cell.hidden = shown === 0;
      if (shown) cell.colSpan = shown;
    });
  }

  function save() {
    const parts = new URLSearchParams();
    if (state.column !== initial.column || state.order !== initial.order) parts.set("sort", ids[state.column] + ":" + state.order);
    if (grouping.value) parts.set("group", grouping.value);
    if (box.value) parts.set("filter", box.value);
    checks.filter((c) => !c.checked).forEach((c) => parts.append("hide", c.dataset.field + ":" + c.value));
    remember(parts);
  }

  function load() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const wanted = /^(.*):(ascending|descending)$/.exec(parts.get("sort") || "");
    state = Object.assign({}, initial);
    if (wanted && ids.includes(wanted[1])) state = { column: ids.indexOf(wanted[1]), order: wanted[2] };
    box.value = parts.get("filter") || "";
    grouping.value = ["architecture", "weighting"].includes(parts.get("group")) ? parts.get("group") : "";
    const hidden = new Set(parts.getAll("hide"));
    checks.forEach((c) => (c.checked = !hidden.has(c.dataset.field + ":" + c.value)));
  }

  function refresh() {
    filter();
    arrange();
    save();
  }

  heads.forEach(function (head, column) {
    const words = head.querySelector(".head");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...words.childNodes);
    words.append(button);
    button.addEventListener("click", function () {
      const start = head.dataset.sort === "text" ? "ascending" : head.dataset.sort;
      const other = start === "ascending" ? "descending" : "ascending";
      state = { column: column, order: state.column === column && state.order === start ? other : start };
      arrange();
      save();
    });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", refresh);
  form.addEventListener("click", function (event) {
    const field = event.target.dataset.all || event.target.dataset.none;
    if (!field) return;
    checks.filter((c) => c.dataset.field === field).forEach((c) => (c.checked = Boolean(event.target.dataset.all)));
    refresh();
  });
  /* The fields are reset after this event. */
  form.addEventListener("reset", () => setTimeout(refresh));
  window.addEventListener("hashchange", function () {
    if (!/=/.test(location.hash)) return;
    load();
    filter();
    arrange();
  });
  window.addEventListener("beforeprint", () => finish(Infinity));
  form.hidden = false;
  load();
  filter();
  arrange();
})();
