/* The frontier, the budget and the table's filters. Numbers come as text from the records: nothing is formatted here. */
"use strict";
(() => {
  const root = document.body.dataset.root;
  const html = document.documentElement;

  /* A custom property's colour, as a plotting library understands it. */
  function colour(name) {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  }

  /* Tables wider than the page say so. */
  function setUpScrolling() {
    const mark = (box) => box.toggleAttribute("data-wide", box.scrollWidth > box.clientWidth + 1);
    const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target.closest(".scroll"))));
    for (const box of document.querySelectorAll(".scroll")) {
      observer.observe(box);
      for (const table of box.querySelectorAll("table")) observer.observe(table);
    }
  }

  const redraws = [];

  function setUpTheme() {
    const button = document.getElementById("theme");
    const media = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (html.dataset.theme ? html.dataset.theme === "dark" : media.matches);
    const show = () => {
      html.classList.toggle("dark", isDark());
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
      redraws.forEach((redraw) => redraw());
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      html.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("vecbudget-theme", html.dataset.theme); } catch { /* this page only */ }
      show();
    });
    media.addEventListener("change", show);
    show();
  }

  function setUpCopying() {
    for (const button of document.querySelectorAll("button.copy")) {
      const code = button.previousElementSibling;
      button.hidden = false;
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(code.textContent);
          button.textContent = "Copied";
        } catch {
          getSelection().selectAllChildren(code);
          button.textContent = "Selected";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
    }
  }

  async function setUpTables() {
    if (!window.datatables) return;
    const { default: DataTable } = await window.datatables;
    for (const element of document.querySelectorAll("table.settings")) {
      const form = element.closest(".scroll").previousElementSibling;
      const table = new DataTable(element, {
        order: [],
        pageLength: 25,
        lengthMenu: [25, 50, 100, { label: "all", value: -1 }],
        autoWidth: false,
        columnDefs: [{ targets: "number", orderSequence: ["desc", "asc", ""] }],
        language: { search: "Search", lengthMenu: "_MENU_ rows", emptyTable: "nothing measured" },
      });
      /* what stands around the table must not scroll with it */
      const scroll = element.closest(".scroll");
      const container = element.closest(".dt-container");
      scroll.before(container);
      const cell = container.querySelector(".dt-layout-table");
      cell.replaceWith(scroll);
      scroll.append(element);
      const field = (name) => form.elements[name];
      table.search.fixed("filters", (text, data, index) => {
        const row = table.row(index).node().dataset;
        const frontier = table.row(index).node().classList.contains("frontier");
        return (!field("page")?.value || field("page").value === row.page)
          && (!field("model")?.value || field("model").value === row.model)
          && (!field("kind")?.value || field("kind").value === row.kind)
          && (!field("family")?.value || field("family").value === row.family)
          && (!field("bytes").value || Number(row.bytes) <= Number(field("bytes").value))
          && (!field("frontier").checked || frontier);
      });
      form.hidden = false;
      form.addEventListener("submit", (event) => event.preventDefault());
      form.addEventListener("input", () => table.draw());
      table.draw();
    }
    html.dataset.tables = "ready";
  }

  /* Sizes that are one budget: as harness.analysis.budgets.one_budget. */
  const oneBudget = (a, b) => a === b || Math.max(a, b) < (1 + window.vecbudget.same_budget) * Math.min(a, b);

  /* The best of each budget, the smallest first: as harness.analysis.pareto.frontier. */
  function frontier(points, metric) {
    const undominated = points.filter((point) => !points.some((other) => other.bytes <= point.bytes
      && other.values[metric] >= point.values[metric]
      && (other.bytes < point.bytes || other.values[metric] > point.values[metric])));
    const best = [];
    for (const point of undominated.sort((a, b) => b.bytes - a.bytes)) {
      if (!best.length || best[0].bytes === point.bytes || !oneBudget(best[0].bytes, point.bytes)) best.unshift(point);
    }
    return best;
  }

  /* What stands beside the best of its budget, as it is not told apart from it: tested where the page was written. */
  const beside = (points, best) => points.filter((point) => !best.includes(point) && best.some((other) => other.place === point.beside));

  /* The best and the second within a budget: as harness.analysis.pareto.best_within; `fits` is harness.analysis.budgets.least_budget. */
  function ranked(points, metric, budget) {
    return points.filter((point) => point.fits <= budget).sort((a, b) =>
      b.values[metric] - a.values[metric] || a.bytes - b.bytes || a.place - b.place);
  }

  /* A collection of several models as a page of all of them, of one, or as it is where there is no choice. */
  function gathered(collection, model) {
    const data = window.vecbudget;
    const parts = collection.pages.map((number, place) => ({ ...data.pages[number], model: collection.models[place], kind: collection.kinds[place] }));
    const named = ({ model, kind, points }) => points.map((point) => ({ ...point, model, kind }));
    const base = (part, metric) => ({ text: `float32, ${part.model}`, kind: part.kind, value: part.metrics[metric]?.base ?? null });
    const alone = parts.find((part) => part.model === model);
    if (alone) {
      return { ...alone, title: `${collection.title} · ${alone.model}`, points: named(alone), bases: (metric) => [base(alone, metric)] };
    }
    const { beside, ...together } = collection.together;
    const points = parts.flatMap(named).map((point, place) => ({ ...point, place, beside: beside[place], name: `${point.name} · ${point.model}` }));
    return { ...together, title: collection.title, points, bases: (metric) => parts.map((part) => base(part, metric)) };
  }

  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  function stops(points) {
    const most = Math.max(...points.map((point) => point.fits));
    const found = [];
    for (let power = 1; ; power *= 2) {
      for (const step of power < 8 ? [1, 1.5] : [1, 1.25, 1.5, 1.75]) {
        found.push(power * step);
        if (power * step >= most) return found.filter(Number.isInteger);
      }
    }
  }

  /* The same lists or graph searched with other efforts than the run's own, where these were tried. */
  const tries = (point, metric) => (point.efforts ?? []).filter((one) => metric in one.values)
    .map((one) => ({ ...point, ...one, run: point.run ?? point.name, name: `${point.run ?? point.name}, ${one.effort}`, bars: {}, verdict: "" }));

  /* A point with the effort that finds most at a speed; nothing where none is as fast. */
  function paced(point, metric, least) {
    const fast = [point, ...tries(point, metric)].filter((one) => one.speed >= least);
    return fast.sort((a, b) => b.values[metric] - a.values[metric] || b.speed - a.speed)[0];
  }

  /* Speeds that tell settings apart, 0 for any. */
  function paces(points) {
    const speeds = points.flatMap((point) => [point, ...(point.efforts ?? [])]).map((one) => one.speed).filter((speed) => speed > 0);
    const [least, most] = [Math.min(...speeds), Math.max(...speeds)];
    const found = [0];
    if (!speeds.length) return found;
    for (let power = Math.floor(Math.log10(least)); 10 ** power <= most; power += 1) {
      for (const step of [1, 2, 5]) {
        const speed = Number(`${step}e${power}`);
        if (speed > least && speed <= most) found.push(speed);
      }
    }
    return found;
  }

  function setUpExplorer(section) {
    const data = window.vecbudget;
    const form = section.querySelector(".controls");
    const { page: pages, metric: metrics, slider, budget, pacer, speed, model: models, colours } = form.elements;
    const kinds = [...form.querySelectorAll("[name=kind]")];
    const unit = Object.keys(data.kinds ?? {}).length > 1 ? "document" : "vector";
    const slot = (name) => section.querySelector(`[data-slot="${name}"]`);
    const plot = section.querySelector(".plot");
    const highlighted = section.dataset.method;
    data.pages.forEach((page) => page.points.forEach((point, place) => { point.place = place; }));

    function readAddress() {
      const asked = new URLSearchParams(location.hash.slice(1));
      const title = asked.get("collection");
      for (const option of pages.options) if (option.text === title) pages.value = option.value;
      for (const option of models?.options ?? []) if (option.value === asked.get("model")) models.value = option.value;
      if (asked.get("metric") in data.metrics) metrics.value = asked.get("metric");
      if (Number(asked.get("budget")) > 0) budget.value = asked.get("budget");
      if (Number(asked.get("speed")) > 0) speed.value = asked.get("speed");
    }

    function writeAddress() {
      const model = models?.value ? { model: models.value } : {};
      const pace = Number(speed.value) > 0 ? { speed: speed.value } : {};
      const state = { collection: pages.selectedOptions[0].text, ...model, metric: metrics.value, budget: budget.value, ...pace };
      try { history.replaceState(null, "", `#${new URLSearchParams(state)}`); } catch { /* not from this origin */ }
    }

    let current = () => data.pages[pages.value];
    /* what was chosen is put together once, when the choice changes */
    function choose() {
      const collection = data.collections[pages.value];
      for (const option of models.options) {
        option.disabled = option.value ? !collection.models.includes(option.value) : !collection.together && collection.pages.length > 1;
      }
      if (models.selectedOptions[0].disabled) models.value = collection.together ? "" : collection.models[0];
      const found = gathered(collection, models.value || (collection.together ? "" : collection.models[0]));
      current = () => found;
      const present = new Set(found.points.map((point) => point.kind));
      form.querySelector(".kinds")?.toggleAttribute("hidden", present.size < 2);
      for (const box of kinds) box.parentElement.toggleAttribute("hidden", !present.has(box.value));
      for (const option of colours.options) {
        option.disabled = option.value !== "family" && new Set(found.points.map((point) => point[option.value])).size < 2;
      }
      colours.parentElement.toggleAttribute("hidden", [...colours.options].filter((option) => !option.disabled).length < 2);
    }
    /* Which of its looks a point has: that of its family unless the reader chose another that tells points apart. */
    function looksBy() {
      const by = colours && !colours.selectedOptions[0].disabled ? colours.value : "family";
      const looks = { family: data.looks, kind: data.kinds, model: data.models }[by];
      return { key: (point) => point[by], by, label: (name) => escaped(looks[name].name ?? name), marker: (name) => ({ color: looks[name].color, symbol: looks[name].symbol }) };
    }
    const boxes = () => [...section.querySelectorAll(".families input")];

    function listMethods() {
      const unchosen = new Set(boxes().filter((box) => !box.checked).map((box) => box.value));
      const families = new Map();
      for (const point of current().points) {
        if (!families.has(point.family)) families.set(point.family, new Set());
        families.get(point.family).add(point.method);
      }
      section.querySelector(".families").replaceChildren(...[...families].sort().map(([family, methods]) => {
        const set = document.createElement("fieldset");
        const legend = document.createElement("legend");
        legend.textContent = family;
        set.append(legend, ...[...methods].sort().map((method) => {
          const label = document.createElement("label");
          const box = Object.assign(document.createElement("input"), { type: "checkbox", value: method });
          box.checked = !unchosen.has(method);
          box.dataset.family = family;
          label.append(box, method);
          return label;
        }));
        return set;
      }));
    }

    const competes = ({ kind }) => !kinds.some((box) => box.value === kind && !box.checked && !box.parentElement.hidden);

    function shown() {
      const methods = new Set(boxes().filter((box) => box.checked).map((box) => box.value));
      const least = Number(speed.value);
      const chosen = current().points.filter((point) => methods.has(point.method) && metrics.value in point.values && competes(point));
      return least > 0 ? chosen.map((point) => paced(point, metrics.value, least)).filter(Boolean) : chosen;
    }

    function setUpPage() {
      if (models) choose();
      for (const option of metrics.options) option.disabled = !(option.value in current().metrics);
      if (metrics.selectedOptions[0].disabled) metrics.value = current().quality;
      form.stops = stops(current().points);
      slider.max = form.stops.length - 1;
      form.paces = paces(current().points);
      pacer.max = form.paces.length - 1;
      form.querySelector("[data-speeds]").toggleAttribute("hidden", form.paces.length < 2);
      listMethods();
      placeSlider();
      placePacer();
    }

    function placePacer() {
      pacer.value = form.paces.filter((pace) => pace <= Number(speed.value)).length - 1;
      pacer.setAttribute("aria-valuetext", Number(speed.value) > 0 ? `at least ${speed.value} queries a second` : "any speed");
    }

    function placeSlider() {
      const wanted = Math.log(Math.max(Number(budget.value), 0.01));
      const distances = form.stops.map((stop) => Math.abs(Math.log(stop) - wanted));
      slider.value = distances.indexOf(Math.min(...distances));
      slider.setAttribute("aria-valuetext", `${budget.value} bytes of codes per ${unit}`);
    }

    function answer(points) {
      const metric = metrics.value;
      const [best, second] = ranked(points, metric, Number(budget.value));
      const all = boxes();
      const chosen = all.filter((box) => box.checked).length;
      slot("budget").textContent = budget.value;
      slot("speed").textContent = Number(speed.value) > 0 ? ` and at ${speed.value} queries/s or more` : "";
      slot("collection").textContent = current().title;
      slot("metric").textContent = data.metrics[metric];
      const offered = kinds.filter((box) => !box.parentElement.hidden), taken = offered.filter((box) => box.checked);
      const only = taken.length < offered.length ? `, a document being ${taken.map((box) => data.kinds[box.value].name).join(" or ") || "nothing"}` : "";
      slot("among").textContent = (chosen < all.length ? `, among ${chosen} of ${all.length} methods` : "") + only;
      slot("chosen").textContent = chosen < all.length ? `${chosen} of ${all.length}` : "all";
      const link = slot("link");
      link.textContent = best ? best.name : "nothing measured";
      if (best) link.href = root + best.url; else link.removeAttribute("href");
      slot("said").textContent = best ? best.said[metric] : "";
      slot("verdict").textContent = best && metric === "ndcg_at_10" ? best.verdict : "";
      slot("size").textContent = best ? best.size : "";
      slot("pace").textContent = best ? best.pace : "";
      const pair = best && second && !best.effort && !second.effort && metric === current().quality ? `${best.place},${second.place}` : "";
      const named = best && second ? `Runner-up: ${second.name}, ${second.said[metric]}` : "";
      slot("rival").textContent = current().pairs[pair] ?? named;
      const own = ranked(points.filter((point) => point.method === highlighted), metric, Number(budget.value))[0];
      slot("own").textContent = !highlighted || own === best ? "" : own ? `Of ${highlighted} within it: ${own.name}, ${own.said[metric]}` : `Of ${highlighted}, nothing measured is as small`;
      slot("command").textContent = best?.command || "not on record";
      return best;
    }

    function draw() {
      const metric = metrics.value;
      const points = shown();
      const best = answer(points);
      const steps = frontier(points, metric).filter((point) => point.bytes > 0);
      const on = new Set([...steps, ...(metric === current().quality ? beside(points, steps) : [])]);
      const ink = colour("ink"), quiet = colour("quiet"), rule = colour("rule"), accent = colour("accent"), ground = colour("ground");
      const drawn = points.filter((point) => point.bytes > 0);
      const { key, label, marker } = looksBy();
      const groups = [...new Set(drawn.map(key))].sort();
      const { floor } = current().metrics[metric];
      const bases = (current().bases?.(metric) ?? [{ text: "float32", value: current().metrics[metric].base }]).filter((one) => one.value !== null && competes(one));
      const most = Math.max(1, ...drawn.map((point) => point.bytes));
      const traces = [{
        x: [...steps.map((point) => point.bytes), 1.2 * most],
        y: [...steps.map((point) => point.values[metric]), steps.at(-1)?.values[metric]],
        mode: "lines", line: { shape: "hv", width: 2, color: ink }, opacity: 0.55, hoverinfo: "skip", showlegend: false,
      }];
      for (const group of groups) {
        traces.push({ name: label(group), meta: group, x: [null], y: [null], mode: "markers", marker: { ...marker(group), size: 11 } });
      }
      const hover = (point) => `<b>${escaped(point.name)}</b><br>${point.size}${point.pace && `, ${point.pace}`}<br>${point.said[metric]}`;
      for (const isOn of [false, true]) {
        for (const group of groups) {
          const members = drawn.filter((point) => key(point) === group && on.has(point) === isOn);
          const ringed = members.map((point) => Boolean(highlighted) && highlighted === point.method);
          const bar = (point, end) => Math.abs((point.bars[metric]?.[end] ?? point.values[metric]) - point.values[metric]);
          traces.push({
            name: label(group),
            showlegend: false,
            x: members.map((point) => point.bytes),
            y: members.map((point) => point.values[metric]),
            customdata: members.map((point) => point.url),
            hovertext: members.map(hover),
            hoverinfo: "text",
            mode: "markers",
            marker: {
              ...marker(group),
              size: isOn ? 11 : 7,
              opacity: members.map((point, place) => (isOn ? 1 : ringed[place] ? 0.9 : 0.55)),
              line: { width: ringed.map((ring) => (ring ? 2 : 0.8)), color: ringed.map((ring) => (ring ? ink : ground)) },
            },
            error_y: {
              visible: isOn, type: "data", symmetric: false, thickness: 1, width: 2,
              array: members.map((point) => bar(point, 1)), arrayminus: members.map((point) => bar(point, 0)),
            },
          });
        }
      }
      /* what a search of the same bytes finds with less effort, and with more */
      for (const point of drawn.filter((one) => one.efforts)) {
        const tried = tries(point, metric), { color, symbol } = marker(key(point));
        traces.push({ meta: "efforts", showlegend: false, x: tried.map((one) => one.bytes), y: tried.map((one) => one.values[metric]),
          customdata: tried.map((one) => one.url), hovertext: tried.map(hover), hoverinfo: "text", opacity: 0.6,
          mode: "lines+markers", line: { width: 1, color, dash: "dot" }, marker: { color, symbol, size: 5 } });
      }
      if (best && best.bytes > 0) {
        traces.push({ x: [best.bytes], y: [best.values[metric]], mode: "markers", showlegend: false,
          hovertext: [hover(best)], hoverinfo: "text", customdata: [best.url],
          marker: { size: 20, color: "rgba(0,0,0,0)", line: { width: 3, color: accent } } });
      }
      const values = drawn.flatMap((point) => [point, ...tries(point, metric)]).map((point) => point.values[metric]);
      const highest = Math.max(...bases.map(({ value }) => value), ...values, ...steps.map((point) => point.bars[metric]?.[1] ?? -Infinity));
      const lowest = Math.min(...values);
      const bottom = lowest >= floor ? lowest : floor;
      const margin = 0.05 * (highest - bottom || 1);
      const powers = [...Array(24).keys()].map((power) => 2 ** power).filter((power) => power <= 2 * most);
      const narrow = plot.clientWidth < 500;
      const shapes = [{ type: "line", x0: Number(budget.value), x1: Number(budget.value), yref: "paper", y0: 0, y1: 1,
        line: { color: accent, width: 1.5, dash: "dot" } }];
      const annotations = [];
      for (const { text, value } of bases) {
        shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, line: { color: quiet, width: 1, dash: "dash" } });
        annotations.push({ xref: "paper", x: 1, xanchor: "right", y: value, yanchor: "bottom", text: escaped(text), showarrow: false, font: { color: quiet, size: 12 } });
      }
      const axis = { gridcolor: rule, zeroline: false, linecolor: quiet, tickfont: { color: ink }, automargin: true };
      const least = Math.min(...drawn.map((point) => point.bytes));
      window.Plotly.react(plot, traces, {
        margin: { l: 10, r: 10, t: 10, b: 10 },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        font: { color: ink, family: getComputedStyle(document.body).fontFamily, size: 13 },
        hovermode: "closest",
        hoverlabel: { bgcolor: colour("raised"), bordercolor: quiet, font: { color: ink }, align: "left" },
        dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
        legend: { orientation: "h", y: narrow ? -0.22 : -0.16, yanchor: "top", x: 0, itemsizing: "constant", itemdoubleclick: false },
        xaxis: { ...axis, type: "log", title: { text: narrow ? `bytes per ${unit}` : `bytes per ${unit}, with a share of codebooks and matrices`, standoff: 8 },
          tickvals: powers, ticktext: powers.map(String), range: drawn.length ? [Math.log10(least / 1.15), Math.log10(1.15 * most)] : undefined },
        yaxis: { ...axis, title: { text: data.metrics[metric], standoff: 8 }, range: drawn.length ? [bottom - margin, highest + margin] : undefined },
        shapes, annotations,
      }, { displayModeBar: false, responsive: true, doubleClick: "autosize" });
      plot.dataset.winner = best ? best.name : "";
    }

    const change = () => { draw(); writeAddress(); };
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const choice of [pages, models]) choice?.addEventListener("input", () => { setUpPage(); change(); });
    colours?.addEventListener("input", draw);
    for (const box of kinds) box.addEventListener("input", draw);
    metrics.addEventListener("input", change);
    slider.addEventListener("input", () => {
      budget.value = form.stops[slider.value];
      slider.setAttribute("aria-valuetext", `${budget.value} bytes of codes per ${unit}`);
      change();
    });
    budget.addEventListener("input", () => { placeSlider(); change(); });
    pacer.addEventListener("input", () => {
      speed.value = form.paces[pacer.value] || "";
      placePacer();
      change();
    });
    speed.addEventListener("input", () => { placePacer(); change(); });
    section.querySelector(".families").addEventListener("change", draw);
    for (const button of section.querySelectorAll("[data-choose]")) {
      button.addEventListener("click", () => {
        for (const box of boxes()) box.checked = button.dataset.choose === "all";
        draw();
      });
    }
    form.hidden = false;
    section.querySelector(".methods").hidden = false;
    metrics.value = data.pages[models ? data.collections[pages.value].pages[0] : pages.value].quality;
    readAddress();
    setUpPage();
    draw();
    redraws.push(draw);
    plot.on("plotly_click", ({ points }) => { if (points[0].customdata) location.href = root + points[0].customdata; });
    plot.on("plotly_legendclick", ({ data: traces, curveNumber }) => {
      const { by } = looksBy();
      const group = traces[curveNumber].meta;
      if (by === "model") {
        models.value = group;
        setUpPage();
        change();
        return false;
      }
      const all = by === "kind" ? kinds : boxes();
      const own = all.filter((box) => (by === "kind" ? box.value : box.dataset.family) === group);
      const others = all.filter((box) => !own.includes(box));
      /* a click shows this one alone; the next one, all again */
      const alone = others.every((box) => !box.checked);
      own.forEach((box) => { box.checked = true; });
      others.forEach((box) => { box.checked = alone; });
      draw();
      return false;
    });
    html.dataset.explorer = "ready";
  }

  /* Of tables for several budgets, one is shown. */
  function setUpBudgets(section) {
    const form = section.querySelector("form");
    const show = () => {
      for (const part of section.querySelectorAll(".within")) part.hidden = part.dataset.within !== form.elements.within.value;
    };
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", show);
    show();
  }

  setUpCopying();
  document.querySelectorAll(".over-models").forEach(setUpBudgets);
  document.querySelectorAll(".explorer").forEach(setUpExplorer);
  setUpTheme();
  setUpTables();
  setUpScrolling();
})();
