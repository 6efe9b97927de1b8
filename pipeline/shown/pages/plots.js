// Draws the plots of a page with Apache ECharts, and gives each its controls. What is drawn stands
// in the page as JSON (#page-data); no name of it is ever read as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("page-data").textContent);
  const SYMBOLS = ["circle", "rect", "triangle", "diamond", "roundRect", "path://M-3,-10H3V-3H10V3H3V10H-3V3H-10V-3H-3Z"];
  const DASHES = ["solid", [8, 4], [2, 3], [10, 3, 2, 3]];
  const LIGHT = {
    ink: "#1f2733", quiet: "#5b6472", line: "#d9dde3", page: "#ffffff", good: "#1d7a46", bad: "#b3261e",
    palette: ["#2563a8", "#c2571a", "#2f8f5b", "#7d4fa8", "#8a6d00", "#b3266b", "#0f7c8a", "#5b6472"],
  };
  const DARK = {
    ink: "#e6e9ee", quiet: "#a7b0bd", line: "#39424f", page: "#14181f", good: "#5cc48a", bad: "#ff8a80",
    palette: ["#7fb2f0", "#f0a36b", "#74cf9d", "#c3a0ea", "#dcc04a", "#f08fbd", "#63c9d6", "#a7b0bd"],
  };
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map();
  let printing = false;

  const theme = () => (prefersDark.matches && !printing ? DARK : LIGHT);
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const figure = (value) => {
    if (!isNumber(value)) return value === null || value === undefined ? "–" : String(value);
    if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(2);
    return Math.abs(value) >= 1e4 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(4));
  };

  function element(tag, properties = {}, children = []) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // Lines of words, as nodes: what a tooltip shows.
  function hint(lines) {
    return element("div", { className: "hint" }, lines.map((line, place) =>
      element(place ? "div" : "strong", { textContent: line })));
  }

  // A logarithmic axis that ends near its values: in twos where they are not too far apart.
  function logRange(values) {
    const positive = values.filter((value) => isNumber(value) && value > 0);
    if (!positive.length) return {};
    const least = Math.min(...positive), most = Math.max(...positive), margin = Math.max(1.05, (most / least) ** 0.06);
    return { min: least / margin, max: most * margin, logBase: most / least < 3000 ? 2 : 10 };
  }

  function axisOption(axis, log, colours, upright, values) {
    const shared = {
      name: axis.name, nameLocation: "middle", nameTextStyle: { color: colours.quiet },
      axisLabel: { color: colours.quiet, hideOverlap: true }, axisLine: { lineStyle: { color: colours.quiet } },
      splitLine: { lineStyle: { color: colours.line } }, nameGap: upright ? 44 : 30,
    };
    if (axis.categories) {
      const turned = !upright && isTurned(axis);
      return { ...shared, type: "category", data: axis.categories, inverse: upright, splitLine: { show: false }, nameGap: 60,
        axisLabel: { color: colours.quiet, rotate: turned ? 40 : 0, hideOverlap: false,
          width: 150, overflow: "truncate", interval: !upright && axis.categories.length > 24 ? "auto" : 0 } };
    }
    const range = log ? logRange(values) : { min: axis.low ?? undefined, max: axis.high ?? undefined };
    return { ...shared, ...range, type: log ? "log" : "value", scale: axis.low === null,
      axisLabel: { ...shared.axisLabel, formatter: figure, showMinLabel: log ? false : null, showMaxLabel: log ? false : null } };
  }

  const longestName = (axis) => Math.min(26, Math.max(...axis.categories.map((name) => name.length)));
  const isTurned = (axis) => longestName(axis) * axis.categories.length > 70;
  const roomLeft = (axis) => Math.min(170, 24 + 6.5 * longestName(axis));
  const roomBelow = (axis) => (isTurned(axis) ? 24 + 4.6 * longestName(axis) : 34);

  function zoomOptions() {
    const still = { type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseMove: false,
      moveOnMouseWheel: false, preventDefaultMouseMove: false };
    return [{ ...still, id: "x", xAxisIndex: 0 }, { ...still, id: "y", yAxisIndex: 0 }];
  }

  function baseOption(colours) {
    return {
      animation: false, backgroundColor: "transparent", textStyle: { fontFamily: "inherit", color: colours.ink },
      grid: { left: 62, right: 18, top: 34, bottom: 52 }, legend: { show: false },
      toolbox: { right: 6, top: 0, itemSize: 14, iconStyle: { borderColor: colours.quiet },
        feature: { dataZoom: { filterMode: "none", title: { zoom: "mark what to zoom into", back: "back" } },
          saveAsImage: { type: "svg", title: "save" } } },
      tooltip: { confine: true, backgroundColor: colours.page, borderColor: colours.line,
        textStyle: { color: colours.ink, fontSize: 13 } },
      dataZoom: zoomOptions(),
    };
  }

  function markOption(plot, colours) {
    if (!plot.marks.length) return undefined;
    return { silent: true, symbol: "none", lineStyle: { color: colours.quiet, type: "dashed", width: 1 },
      label: { color: colours.quiet, formatter: (mark) => mark.data.words, position: "end" },
      data: plot.marks.map((mark) => (mark.x !== null
        ? { xAxis: mark.x, words: mark.label }
        : { yAxis: mark.y, words: mark.label, label: { position: "insideEndTop" } })) };
  }

  function seriesOption(plot, series, place, logs, colours) {
    const own = { good: colours.good, bad: colours.bad, quiet: colours.quiet }[series.colour];
    const colour = own ?? colours.palette[place % colours.palette.length];
    const positive = (value, log) => (log && isNumber(value) && value <= 0 ? null : value);
    const points = series.points.map(([x, y]) => [positive(x, logs.x), positive(y, logs.y)]);
    const shared = { name: series.name, type: series.kind, data: points, color: colour,
      markLine: place === 0 ? markOption(plot, colours) : undefined };
    if (series.is_base) {
      return { ...shared, stack: series.stack, silent: true, itemStyle: { color: "transparent" }, tooltip: { show: false } };
    }
    if (series.kind === "bar") return { ...shared, stack: series.stack ?? undefined, barMaxWidth: 42 };
    const symbol = SYMBOLS[place % SYMBOLS.length];
    if (series.kind === "scatter") return { ...shared, symbol, symbolSize: plot.series.length > 3 ? 9 : 6 };
    return { ...shared, step: series.step ? "end" : false, connectNulls: false, symbol, symbolSize: 6,
      showSymbol: points.length <= 30 && !series.step,
      lineStyle: { color: colour, width: 2, type: series.dashed ? [6, 4] : DASHES[Math.floor(place / colours.palette.length) % 4] } };
  }

  function plotOption(plot, state) {
    const colours = theme();
    const option = baseOption(colours);
    const named = (axis, value) => (axis.categories ? axis.categories[value] ?? value : figure(value));
    const valuesAt = (place) => plot.series.flatMap((series) => series.points.map((point) => point[place]));
    option.xAxis = axisOption(plot.x, state.logs.x, colours, false, valuesAt(0));
    option.yAxis = axisOption(plot.y, state.logs.y, colours, true, valuesAt(1));
    if (plot.x.categories) option.grid = { ...option.grid, bottom: roomBelow(plot.x) };
    if (plot.y.categories) option.grid = { ...option.grid, left: roomLeft(plot.y) };
    option.series = plot.series.map((series, place) => seriesOption(plot, series, place, state.logs, colours));
    option.legend = { show: false, data: plot.series.map((series) => series.name), selected: state.selected };
    option.tooltip.trigger = "item";
    option.tooltip.formatter = (at) => hint([
      at.seriesName, `${plot.x.name || "at"}: ${named(plot.x, at.value[0])}`, `${plot.y.name || "of"}: ${named(plot.y, at.value[1])}`]);
    return option;
  }

  // ---- the front: its points are filtered and laid on axes of the reader's choice ----

  // No accuracy is above 100 %.
  const percentRange = (values) => (values.length
    ? { min: Math.max(0, Math.floor(Math.min(...values) - 0.5)), max: Math.min(100, Math.ceil(Math.max(...values) + 0.5)) } : {});
  const inPlace = (point, state) => ["target", "precision", "place", "run"].every((key) =>
    !state.filters[key] || state.filters[key].has(point[key]));
  const shownPoints = (front, state) => front.points.filter((point) => inPlace(point, state));

  function frontLines(point, front) {
    const lines = [point.name + (point.ships ? " (ships)" : "")];
    if (point.run) lines.push(`run: ${point.run}`);
    for (const [key, words] of Object.entries(front.measures)) {
      const values = point.values[key];
      if (!values) continue;
      const [value, low, high] = values.map(figure);
      lines.push(`${words}: ${value}` + (values[1] === values[2] ? "" : ` (${low} to ${high})`));
    }
    lines.push(`${point.target}, ${point.precision}, ${point.place === "tied" ? "tied with the front" : `${point.place} the front`}`);
    if (point.estimated) lines.push("latency estimated, not measured");
    if (point.suspect) lines.push("measurement suspect");
    if (point.note) lines.push(point.note);
    return lines;
  }

  function frontSeries(points, group, place, state, colours) {
    const colour = colours.palette[place % colours.palette.length];
    const at = (point, axis, end) => {
      const value = point.values[state[axis]]?.[end];
      return isNumber(value) && (value > 0 || !state.logs[axis]) ? value : null;
    };
    const both = points.filter((point) => point.group === group && at(point, "x", 0) !== null && at(point, "y", 0) !== null);
    const dots = both.map((point) => ({
      value: [at(point, "x", 0), at(point, "y", 0)], point, symbolSize: point.ships ? 18 : 11,
      itemStyle: { color: point.place === "on" ? colour : "transparent", borderColor: colour,
        borderWidth: point.ships ? 4 : 2, borderType: point.suspect ? "dashed" : "solid", opacity: point.place === "off" ? 0.6 : 1 },
      label: { show: point.ships, formatter: "ships", position: "top", color: colours.ink, fontWeight: "bold" },
    }));
    const bars = both.flatMap((point) => [
      [at(point, "x", 1), at(point, "y", 0)], [at(point, "x", 2), at(point, "y", 0)], [null, null],
      [at(point, "x", 0), at(point, "y", 1)], [at(point, "x", 0), at(point, "y", 2)], [null, null]]);
    return [
      { name: group, type: "scatter", color: colour, symbol: SYMBOLS[place % SYMBOLS.length], data: dots.filter((dot) => !dot.point.ships), z: 3 },
      { name: group, type: "scatter", color: colour, symbol: SYMBOLS[place % SYMBOLS.length], data: dots.filter((dot) => dot.point.ships), z: 5 },
      { name: group, type: "line", color: colour, data: state.bars ? bars : [], symbol: "none", silent: true,
        lineStyle: { width: 1, opacity: 0.55 }, connectNulls: false, z: 2 }];
  }

  function frontOption(front, state) {
    const colours = theme();
    const option = baseOption(colours);
    const points = shownPoints(front, state);
    const axis = (key) => ({ name: front.measures[state[key]], low: null, high: null, categories: null });
    const valuesOf = (key) => points.flatMap((point) => point.values[state[key]]?.slice(0, state.bars ? 3 : 1) ?? []);
    option.xAxis = axisOption(axis("x"), state.logs.x, colours, false, valuesOf("x"));
    option.yAxis = axisOption(axis("y"), state.logs.y, colours, true, valuesOf("y"));
    for (const [key, made] of [["x", option.xAxis], ["y", option.yAxis]]) {
      if (!state.logs[key]) made.boundaryGap = ["6%", "8%"];
      if (!state.logs[key] && state[key] === "accuracy") Object.assign(made, percentRange(valuesOf(key)));
    }
    option.series = state.groups.flatMap((group, place) => frontSeries(points, group, place, state, colours));
    if (state.x === "latency" && state.y === "accuracy") {
      const on = points.filter((point) => point.place === "on" && point.values.latency && point.values.accuracy)
        .map((point) => [point.values.latency[0], point.values.accuracy[0]]).sort((a, b) => a[0] - b[0]);
      option.series.push({ name: "front", type: "line", step: "end", data: on, symbol: "none", silent: true, z: 1,
        color: colours.quiet, lineStyle: { width: 1.5, type: [4, 4] } });
    }
    option.legend = { show: false, data: [...state.groups, "front"], selected: state.selected };
    option.tooltip.trigger = "item";
    option.tooltip.formatter = (at) => (at.data && at.data.point ? hint(frontLines(at.data.point, front)) : "");
    return option;
  }

  // ---- controls: plain buttons, boxes and lists, which the keyboard reaches ----

  function button(words, act, label) {
    const made = element("button", { type: "button", textContent: words, onclick: act });
    if (label) made.setAttribute("aria-label", label);
    return made;
  }

  function box(words, checked, act) {
    const input = element("input", { type: "checkbox", checked, onchange: () => act(input.checked) });
    return element("label", { className: "box" }, [input, ` ${words}`]);
  }

  function list(words, choices, chosen, act) {
    const select = element("select", { onchange: () => act(select.value) },
      Object.entries(choices).map(([value, text]) => element("option", { value, textContent: text, selected: value === chosen })));
    return element("label", { className: "list" }, [`${words} `, select]);
  }

  function group(words, children) {
    return element("fieldset", {}, [element("legend", { textContent: words }), ...children]);
  }

  function legendOf(holder, names) {
    const { state } = holder;
    return element("div", { className: "legend" }, names.map((name, place) => {
      const own = holder.plot && holder.plot.series.find((series) => series.name === name).colour;
      const swatch = element("span", { className: "swatch" });
      swatch.dataset.colour = own ?? String(place);
      const made = button("", () => {
        state.selected[name] = state.selected[name] === false;
        made.setAttribute("aria-pressed", String(state.selected[name]));
        redraw(holder);
      });
      made.setAttribute("aria-pressed", "true");
      made.append(swatch, name);
      return made;
    }));
  }

  function paintSwatches(holder) {
    const colours = theme();
    for (const swatch of holder.controls.querySelectorAll(".swatch")) {
      const colour = swatch.dataset.colour;
      swatch.style.background = colours[colour] ?? colours.palette[Number(colour) % colours.palette.length];
    }
  }

  function zoom(holder, factor) {
    const span = Math.min(100, (holder.state.zoom[1] - holder.state.zoom[0]) * factor);
    const middle = (holder.state.zoom[0] + holder.state.zoom[1]) / 2;
    const start = Math.max(0, Math.min(100 - span, middle - span / 2));
    setZoom(holder, start, start + span);
  }

  function setZoom(holder, start, end) {
    holder.state.zoom = [start, end];
    const plot = holder.plot;
    const axes = plot && plot.x.categories ? ["x"] : plot && plot.y.categories ? ["y"] : ["x", "y"];
    for (const dataZoomId of axes) holder.chart.dispatchAction({ type: "dataZoom", dataZoomId, start, end });
  }

  function move(holder, by) {
    const [start, end] = holder.state.zoom;
    const step = Math.max(-start, Math.min(100 - end, by * (end - start)));
    holder.state.zoom = [start + step, end + step];
    holder.chart.dispatchAction({ type: "dataZoom", dataZoomId: "x", start: start + step, end: end + step });
  }

  function zoomButtons(holder) {
    return element("div", { className: "zoom" }, [
      button("+", () => zoom(holder, 0.5), "zoom in"), button("−", () => zoom(holder, 2), "zoom out"),
      button("←", () => move(holder, -0.25), "move left"), button("→", () => move(holder, 0.25), "move right"),
      button("Whole", () => { setZoom(holder, 0, 100); redraw(holder); }, "show the whole plot")]);
  }

  function plotControls(holder) {
    const { plot, state } = holder;
    const names = [...new Set(plot.series.filter((series) => !series.is_base).map((series) => series.name))];
    const logs = ["x", "y"].filter((key) => plot[key].offers_log).map((key) =>
      box(`logarithmic ${key === "x" ? "→" : "↑"}`, state.logs[key], (on) => { state.logs[key] = on; redraw(holder); }));
    holder.controls.append(...(names.length > 1 ? [legendOf(holder, names)] : []), ...logs, zoomButtons(holder));
  }

  function filterBoxes(holder, key, words) {
    const values = [...new Set(holder.front.points.map((point) => point[key]))].filter(Boolean).sort();
    if (values.length < 2) return [];
    const chosen = new Set(values);
    holder.state.filters[key] = chosen;
    return [group(words, values.map((value) => box(value, true, (on) => {
      if (on) chosen.add(value); else chosen.delete(value);
      redraw(holder);
    })))];
  }

  function frontControls(holder) {
    const { front, state } = holder;
    const choose = (key) => (value) => { state[key] = value; redraw(holder); };
    const log = (key) => (on) => { state.logs[key] = on; redraw(holder); };
    const said = element("output", { className: "count" });
    said.setAttribute("aria-live", "polite");
    holder.said = said;
    const choices = element("details", { className: "choices", open: innerWidth >= 640 }, [
      element("summary", { textContent: "Axes and filters" }),
      element("div", { className: "axes" }, [
        list("to the right", front.measures, state.x, choose("x")), box("logarithmic →", state.logs.x, log("x")),
        list("upwards", front.measures, state.y, choose("y")), box("logarithmic ↑", state.logs.y, log("y")),
        box("intervals", state.bars, (on) => { state.bars = on; redraw(holder); })]),
      element("div", { className: "filters" }, [
        ...filterBoxes(holder, "run", "run"), ...filterBoxes(holder, "target", "target"),
        ...filterBoxes(holder, "precision", "precision"), ...filterBoxes(holder, "place", "front")])]);
    holder.controls.append(legendOf(holder, state.groups), choices, zoomButtons(holder), said);
  }

  // Rows of the table beneath go with their points.
  function filterRows(holder) {
    const rows = holder.figure.querySelectorAll("details.data tbody tr");
    let count = 0;
    holder.front.points.forEach((point, place) => {
      const shown = inPlace(point, holder.state) && holder.state.selected[point.group] !== false;
      count += shown;
      if (rows[place]) rows[place].hidden = !shown;
    });
    holder.said.textContent = `${count} of ${holder.front.points.length} points shown`;
  }

  // ---- drawing: when a plot comes near the screen, and again when colours or choices change ----

  function redraw(holder) {
    if (holder.front) filterRows(holder);
    paintSwatches(holder);
    if (!holder.chart) return;
    const option = holder.front ? frontOption(holder.front, holder.state) : plotOption(holder.plot, holder.state);
    holder.chart.setOption(option, { notMerge: true });
    if (holder.state.zoom[0] > 0 || holder.state.zoom[1] < 100) setZoom(holder, ...holder.state.zoom);
  }

  function draw(holder) {
    if (holder.chart) return;
    holder.chart = echarts.init(holder.canvas, null, { renderer: "svg" });
    redraw(holder);
    holder.figure.dataset.drawn = "yes";
    performance.mark("drawn");
  }

  function holderOf(figureElement) {
    const canvas = figureElement.querySelector(".canvas");
    const id = canvas.dataset.plot;
    const front = id === "front" ? data.front : null;
    const plot = front ? null : data.plots[id];
    const state = { selected: {}, zoom: [0, 100], filters: {}, bars: true };
    if (front) {
      state.groups = [...new Set(front.points.map((point) => point.group))];
      state.bars = front.points.length <= 60;
      state.x = front.measures.latency ? "latency" : Object.keys(front.measures)[0];
      state.y = front.measures.accuracy ? "accuracy" : Object.keys(front.measures).at(-1);
      state.logs = { x: true, y: false };
    } else {
      state.logs = { x: plot.x.log, y: plot.y.log };
    }
    return { figure: figureElement, canvas, front, plot, state, chart: null,
      controls: figureElement.querySelector(".controls") };
  }

  function begin(figureElement, watcher) {
    const holder = holderOf(figureElement);
    drawn.set(figureElement, holder);
    if (holder.front) frontControls(holder); else plotControls(holder);
    redraw(holder);
    watcher.observe(figureElement);
  }

  const all = (act) => drawn.forEach(act);
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(drawn.get(entry.target));
  }, { rootMargin: "300px" });
  document.querySelectorAll("figure.plot").forEach((figureElement) => begin(figureElement, watcher));
  document.documentElement.dataset.ready = "yes";
  prefersDark.addEventListener("change", () => all(redraw));
  addEventListener("resize", () => all((holder) => holder.chart && holder.chart.resize()));
  addEventListener("beforeprint", () => { printing = true; all((holder) => { draw(holder); redraw(holder); }); });
  addEventListener("afterprint", () => { printing = false; all(redraw); });
})();
