/* Sorting and filtering of a board's table. The page is complete without it. State is kept in the address's hash. */
(function () {
  "use strict";
  const table = document.getElementById("board");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[1].cells);
  const form = document.getElementById("filters");
  const box = document.getElementById("filter");
  const checks = Array.from(form.querySelectorAll("input[type=checkbox]"));
  const count = document.getElementById("count");
  const first = heads.findIndex((head) => head.hasAttribute("aria-sort"));
  const initial = { column: first, order: first < 0 ? "" : heads[first].getAttribute("aria-sort") };
  let state = Object.assign({}, initial);

  /* Rows of unfinished runs have one wide cell: their other columns are empty. */
  function value(row, column) {
    const cells = row.cells;
    if (cells.length !== heads.length && column > 1) return column === heads.length - 1 ? "0" : "";
    return cells[column].dataset.value || "";
  }

  function sort() {
    heads.forEach((head, i) => {
      if (i === state.column) head.setAttribute("aria-sort", state.order);
      else head.removeAttribute("aria-sort");
    });
    if (state.column < 0) {
      body.append(...rows);
      return;
    }
    const text = heads[state.column].dataset.sort === "text";
    const sign = state.order === "ascending" ? 1 : -1;
    const keyed = rows.map((row, i) => ({ row: row, i: i, key: value(row, state.column) }));
    keyed.sort(function (a, b) {
      if (!text && (a.key === "" || b.key === "")) return (a.key === "") - (b.key === "") || a.i - b.i;
      const order = text ? a.key.localeCompare(b.key, "en") : Number(a.key) - Number(b.key);
      return sign * order || a.i - b.i;
    });
    body.append(...keyed.map((entry) => entry.row));
  }

  function filter() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = new Set(checks.filter((c) => !c.checked).map((c) => c.dataset.field + "\n" + c.value));
    let shown = 0;
    rows.forEach(function (row) {
      const names = (row.dataset.architecture + " " + row.dataset.weighting).toLowerCase();
      const hidden =
        off.has("architecture\n" + row.dataset.architecture) ||
        off.has("weighting\n" + row.dataset.weighting) ||
        !words.every((word) => names.includes(word));
      row.hidden = hidden;
      if (!hidden) shown += 1;
    });
    count.textContent = shown + " of " + rows.length + " rows";
  }

  function save() {
    const parts = new URLSearchParams();
    if (state.column !== initial.column || state.order !== initial.order) parts.set("sort", state.column + "-" + state.order);
    if (box.value) parts.set("filter", box.value);
    checks.filter((c) => !c.checked).forEach((c) => parts.append("hide", c.dataset.field + ":" + c.value));
    const hash = parts.toString();
    try {
      history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
    } catch (error) {
      /* Some browsers refuse this for files; the state is then not kept. */
    }
  }

  function load() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const wanted = /^(\d+)-(ascending|descending)$/.exec(parts.get("sort") || "");
    if (wanted && Number(wanted[1]) < heads.length) state = { column: Number(wanted[1]), order: wanted[2] };
    box.value = parts.get("filter") || "";
    const hidden = new Set(parts.getAll("hide"));
    checks.forEach((c) => (c.checked = !hidden.has(c.dataset.field + ":" + c.value)));
  }

  heads.forEach(function (head, column) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", function () {
      const start = head.dataset.sort === "text" ? "ascending" : head.dataset.sort;
      const other = start === "ascending" ? "descending" : "ascending";
      state = { column: column, order: state.column === column && state.order === start ? other : start };
      sort();
      save();
    });
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", function () {
    filter();
    save();
  });
  form.addEventListener("reset", function () {
    /* The fields are reset after this event. */
    setTimeout(function () {
      filter();
      save();
    });
  });
  form.hidden = false;
  load();
  sort();
  filter();
})();
