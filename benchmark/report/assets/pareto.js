/* A plot of any column against any other, drawn from the numbers in the page. The state lives in the address's hash. */
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("choices");
  const plot = document.getElementById("plot");
  const bubble = document.getElementById("tip");
  const front = document.getElementById("front");
  const selects = { x: document.getElementById("x"), y: document.getElementById("y") };
  const fit = document.getElementById("fit");
  const checks = Array.from(form.querySelectorAll("input[data-field]"));
  if (!data.rows.length || !data.axes.length) return;
  const NS = "http://www.w3.org/2000/svg";
  const defaults = { x: selects.x.value, y: selects.y.value };
  const M = { left: 52, right: 14, top: 28, bottom: 46 };
  let W = 900, H = 560;

  function el(name, attributes, text) {
    const node = document.createElementNS(NS, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function ticks(low, high, count) {
    const raw = (high - low) / count;
    const power = Math.pow(10, Math.floor(Math.log10(raw)));
    const step = [1, 2, 2.5, 5, 10].map((f) => f * power).find((s) => s >= raw * 0.999);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step && found.length < 30; i += 1) found.push(i * step);
    return found;
  }

  function logTicks(low, high) {
    const found = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p += 1)
      [1, 2, 5].forEach(function (f) {
        const value = f * Math.pow(10, p);
        if (value >= low && value <= high) found.push(value);
      });
    return found.length > 9 ? found.filter((v) => Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9) : found;
  }

  function words(value) {
    return String(Number(value.toPrecision(4))).replace("-", "−");
  }

  /* Whether an axis is logarithmic, the means alone decide: what is fitted into it is another matter. */
  function scale(points, key, best, start, end) {
    const values = points.map((p) => p[key]);
    let low = Math.min(...values), high = Math.max(...values);
    const log = low > 0 && high > 12 * low;
    if (fit.checked)
      best.forEach(function (p) {
        const lower = p[key] - p["d" + key];
        low = Math.min(low, log && lower <= 0 ? low : lower);
        high = Math.max(high, p[key] + p["d" + key]);
      });
    if (log) {
      low /= 1.15;
      high *= 1.15;
    } else {
      const room = (high - low) * 0.07 || Math.abs(high) * 0.1 || 1;
      low -= room;
      high += room;
    }
    const inner = log ? (v) => Math.log10(Math.max(v, low / 10)) : (v) => v;
    const at = (v) => start + Math.max(-1, Math.min(2, (inner(v) - inner(low)) / (inner(high) - inner(low)))) * (end - start);
    const count = Math.abs(end - start) < 420 ? 4 : 7;
    let marks = log ? logTicks(low, high) : ticks(low, high, count);
    if (marks.length < 2) marks = ticks(low, high, count);
    const places = Math.max(...marks.map((v) => (words(v).split(".")[1] || "").length));
    const text = (v) => (log ? words(v) : v.toFixed(Math.min(places, 9)).replace(/^-(?=[0.]*$)/, "").replace("-", "−"));
    return { at: at, ticks: marks, low: low, high: high, log: log, text: text };
  }

  function better(a, b, up) {
    return up ? a > b : a < b;
  }

  /* No other point is better in one and at least as good in the other. */
  function nonDominated(points, axes) {
    return points.filter((p) =>
      !points.some(
        (q) =>
          !better(p.x, q.x, axes.x.up) && !better(p.y, q.y, axes.y.up) && (better(q.x, p.x, axes.x.up) || better(q.y, p.y, axes.y.up))
      )
    );
  }

  function off(field) {
    return new Set(checks.filter((c) => !c.checked && c.dataset.field === field).map((c) => c.value));
  }

  function draw() {
    const places = { x: data.axes.findIndex((a) => a.id === selects.x.value), y: data.axes.findIndex((a) => a.id === selects.y.value) };
    const axes = { x: data.axes[places.x], y: data.axes[places.y] };
    const hiddenA = off("architecture"), hiddenW = off("weighting");
    const rows = data.rows.filter((row) => !hiddenA.has(row.a) && !hiddenW.has(row.w));
    const points = rows
      .filter((row) => row.v[places.x] && row.v[places.y])
      .map((row) => ({ row: row, x: row.v[places.x][0], y: row.v[places.y][0], dx: row.v[places.x][1], dy: row.v[places.y][1] }));
    bubble.hidden = true;
    plot.replaceChildren();
    /* One unit is about one pixel, so that words stay legible on a phone. */
    W = Math.max(330, Math.min(960, plot.clientWidth || 900));
    H = Math.round(W < 600 ? W : W * 0.6);
    if (!points.length) {
      front.textContent = "No shown row has both numbers.";
      return;
    }
    const best = new Set(nonDominated(points, axes));
    const turned = axes.x.turned;
    const x = scale(points, "x", best, turned ? W - M.right : M.left, turned ? M.left : W - M.right);
    const flip = !axes.y.up;
    const y = scale(points, "y", best, flip ? M.top : H - M.bottom, flip ? H - M.bottom : M.top);
    const label = axes.y.name + " against " + axes.x.name + ", " + points.length + " rows";
    const svg = el("svg", { class: "figure", viewBox: "0 0 " + W + " " + H, role: "group", "aria-label": label });
    svg.append(frame(x, y, axes));
    svg.append(el("path", { class: "ln front", d: stairs(Array.from(best), x, y, axes) }));
    const order = points.slice().sort((a, b) => best.has(a) - best.has(b));
    const inside = el("clipPath", { id: "inside" });
    inside.append(el("rect", { x: M.left, y: M.top, width: W - M.left - M.right, height: H - M.top - M.bottom }));
    svg.append(inside);
    order.forEach((p) => svg.append(mark(p, x, y, best.has(p), places, axes, points.length > 60)));
    const spots = order.map((p) => ({ x: x.at(p.x), y: y.at(p.y), text: p.row.n, best: best.has(p) }));
    nameFront(svg, spots.filter((s) => s.best), spots.filter((s) => !s.best));
    plot.append(svg);
    const names = points.filter((p) => best.has(p)).map((p) => p.row.n);
    const missing = rows.length - points.length;
    front.textContent =
      "Not dominated: " + names.join(", ") + "." + (missing ? " Not shown, for want of numbers: " + missing + " of " + rows.length + " rows." : "");
  }

  function frame(x, y, axes) {
    const group = el("g", { "aria-hidden": "true" });
    let grid = "";
    const right = W - M.right, bottom = H - M.bottom;
    y.ticks.forEach((v) => (grid += "M" + M.left + " " + y.at(v).toFixed(1) + "H" + right));
    x.ticks.forEach((v) => (grid += "M" + x.at(v).toFixed(1) + " " + M.top + "V" + bottom));
    group.append(el("path", { class: "gr", d: grid }));
    if (axes.y.signed && y.low < 0 && y.high > 0) group.append(el("path", { class: "rf", d: "M" + M.left + " " + y.at(0).toFixed(1) + "H" + right }));
    if (axes.x.signed && x.low < 0 && x.high > 0) group.append(el("path", { class: "rf", d: "M" + x.at(0).toFixed(1) + " " + M.top + "V" + bottom }));
    if (y.low < axes.y.floor && axes.y.floor < y.high) group.append(el("path", { class: "rf fo", d: "M" + M.left + " " + y.at(axes.y.floor).toFixed(1) + "H" + right }));
    if (x.low < axes.x.floor && axes.x.floor < x.high) group.append(el("path", { class: "rf fo", d: "M" + x.at(axes.x.floor).toFixed(1) + " " + M.top + "V" + bottom }));
    y.ticks.forEach((v) => group.append(el("text", { class: "te", x: M.left - 7, y: y.at(v) + 4 }, y.text(v))));
    x.ticks.forEach((v) => group.append(el("text", { class: "tm", x: x.at(v), y: bottom + 17 }, x.text(v))));
    const log = ", logarithmic";
    group.append(el("text", { class: "al", x: 0, y: 14 }, axes.y.name + (axes.y.up ? " ↑" : " ↓, better on top") + (y.log ? log : "")));
    const better = (axes.x.up ? " ↑" : " ↓") + (axes.x.turned ? ", better to the right" : "");
    group.append(el("text", { class: "te al", x: right, y: H - 6 }, axes.x.name + better + (x.log ? log : "")));
    return group;
  }

  /* A name stands where it meets no mark, failing that no named one and no name; else it is in the list below alone. */
  function nameFront(svg, names, others) {
    const size = 10, line = 14, gap = size + 3;
    const meets = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
    const around = (s, r) => [s.x - r, s.y - r, s.x + r, s.y + r];
    const taken = names.map((n) => around(n, size));
    const avoided = others.map((s) => around(s, 6));
    names.forEach(function (n) {
      const width = 6.4 * n.text.length;
      const lefts = [n.x + gap, n.x - gap - width], tops = [n.y - gap - line / 2, n.y + gap - line / 2];
      /* Corners first: lines leave a mark at its sides. */
      const places = [];
      lefts.forEach((left) => tops.forEach((top) => places.push([left, top])));
      [n.y - gap - line, n.y + gap].forEach((top) => places.push([n.x - width / 2, top]));
      lefts.forEach((left) => places.push([left, n.y - line / 2]));
      const free = places
        .map((p) => [p[0], p[1], p[0] + width, p[1] + line])
        .filter((p) => p[0] >= M.left && p[2] <= W && p[1] >= 0 && p[3] <= H && !taken.some((other) => meets(p, other)));
      const box = free.find((p) => !avoided.some((other) => meets(p, other))) || free[0];
      if (!box) return;
      taken.push(box);
      svg.append(el("text", { class: "nm tm", x: box[0] + width / 2, y: box[3] - 3, "aria-hidden": "true" }, n.text));
    });
  }

  function stairs(points, x, y, axes) {
    const at = points.map((p) => [x.at(p.x), y.at(p.y)]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let path = "";
    at.forEach(function (point, i) {
      if (i) path += axes.x.up || axes.x.turned ? "V" + point[1].toFixed(1) : "H" + point[0].toFixed(1);
      path += (i ? "L" : "M") + point[0].toFixed(1) + " " + point[1].toFixed(1);
    });
    return path || "M0 0";
  }

  /* The front's intervals; those of another row are seen while it is pointed at. */
  function cross(p, x, y, best) {
    let path = "";
    if (p.dx) path += "M" + x.at(p.x - p.dx).toFixed(1) + " " + y.at(p.y).toFixed(1) + "H" + x.at(p.x + p.dx).toFixed(1);
    if (p.dy) path += "M" + x.at(p.x).toFixed(1) + " " + y.at(p.y - p.dy).toFixed(1) + "V" + y.at(p.y + p.dy).toFixed(1);
    return el("path", { class: (best ? "er c" : "er late c") + p.row.c, d: path || "M0 0", "clip-path": "url(#inside)" });
  }

  function mark(p, x, y, best, places, axes, crowded) {
    /* In a crowd only those that lead have letters; the others have theirs under the pointer. */
    const size = best ? 10 : crowded ? 5 : 7.5;
    const at = [x.at(p.x), y.at(p.y)];
    const text =
      p.row.n + "\n" + axes.y.name + ": " + p.row.v[places.y][2] + "\n" + axes.x.name + ": " + p.row.v[places.x][2] +
      "\n" + p.row.s + (p.row.s === 1 ? " seed" : " seeds") + (best ? ", not dominated" : "");
    const link = el("a", { href: p.row.u, "aria-label": text });
    const [outline, shift] = data.shapes[p.row.m];
    link.append(cross(p, x, y, best));
    link.append(
      el("path", { class: "mf c" + p.row.c, d: outline, transform: "translate(" + at[0].toFixed(1) + " " + at[1].toFixed(1) + ") scale(" + size + ")" })
    );
    if (p.row.l && (best || !crowded))
      link.append(el("text", { class: "ml", x: at[0], y: at[1] + size * (0.4 + shift), style: "font-size:" + size * 1.15 + "px" }, p.row.l));
    const show = () => say(text, link);
    link.addEventListener("pointerenter", show);
    link.addEventListener("focus", show);
    link.addEventListener("pointerleave", hide);
    link.addEventListener("blur", hide);
    return link;
  }

  function say(text, link) {
    bubble.textContent = text;
    bubble.hidden = false;
    const box = link.getBoundingClientRect();
    const left = Math.min(box.right + 10, document.documentElement.clientWidth - bubble.offsetWidth - 12);
    bubble.style.left = Math.max(8, left) + window.scrollX + "px";
    bubble.style.top = box.bottom + 8 + window.scrollY + "px";
  }

  function hide() {
    bubble.hidden = true;
  }

  function counts() {
    form.querySelectorAll("[data-chosen]").forEach(function (label) {
      const all = checks.filter((c) => c.dataset.field === label.dataset.chosen);
      const chosen = all.filter((c) => c.checked).length;
      label.textContent = chosen === all.length ? "all " + all.length : chosen + " of " + all.length;
    });
  }

  function save() {
    const parts = new URLSearchParams();
    ["x", "y"].forEach((key) => selects[key].value !== defaults[key] && parts.set(key, selects[key].value));
    if (fit.checked) parts.set("fit", "yes");
    checks.filter((c) => !c.checked).forEach((c) => parts.append("hide", c.dataset.field + ":" + c.value));
    remember(parts);
  }

  function load() {
    const parts = new URLSearchParams(location.hash.slice(1));
    ["x", "y"].forEach(function (key) {
      selects[key].value = data.axes.some((a) => a.id === parts.get(key)) ? parts.get(key) : defaults[key];
    });
    fit.checked = parts.get("fit") === "yes";
    const hidden = new Set(parts.getAll("hide"));
    checks.forEach((c) => (c.checked = !hidden.has(c.dataset.field + ":" + c.value)));
  }

  function refresh() {
    counts();
    draw();
    save();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", refresh);
  form.addEventListener("click", function (event) {
    const field = event.target.dataset.all || event.target.dataset.none;
    if (!field) return;
    checks.filter((c) => c.dataset.field === field).forEach((c) => (c.checked = Boolean(event.target.dataset.all)));
    refresh();
  });
  form.addEventListener("reset", () => setTimeout(refresh));
  window.addEventListener("hashchange", function () {
    if (!/=/.test(location.hash)) return;
    load();
    counts();
    draw();
  });
  let width = plot.clientWidth;
  window.addEventListener("resize", function () {
    if (plot.clientWidth === width) return;
    width = plot.clientWidth;
    draw();
  });
  form.hidden = false;
  load();
  counts();
  draw();
})();
