"use strict";
// Draws every chart of the page from the JSON beside it, again when the width changes.
(() => {
  const palette = [1, 2, 3, 4, 5, 6].map((i) => `var(--c${i})`);
  const svgNames = "http://www.w3.org/2000/svg";

  function names(chart) {
    if (chart.y.domain && typeof chart.y.domain[0] === "string") return chart.y.domain;
    const first = chart.marks[0];
    if (!first || typeof first.options.y !== "string") return [];
    const values = first.data.map((row) => row[first.options.y]);
    return values.every((value) => typeof value === "string") ? [...new Set(values)] : [];
  }

  function legend(groups) {
    const list = document.createElement("ul");
    list.className = "legend";
    groups.forEach((group, i) => {
      const entry = document.createElement("li");
      const sample = document.createElementNS(svgNames, "svg");
      const square = document.createElementNS(svgNames, "rect");
      square.setAttribute("width", "12");
      square.setAttribute("height", "12");
      square.setAttribute("rx", "2");
      square.setAttribute("fill", palette[i % palette.length]);
      sample.append(square);
      entry.append(sample, group);
      list.append(entry);
    });
    return list;
  }

  function draw(box, chart) {
    const width = Math.max(260, Math.floor(box.clientWidth));
    const bands = names(chart);
    // Capitals are wider: names that are written in them would be cut short.
    const room = (name) => 7 * name.length + 2 * (name.match(/\p{Lu}/gu) ?? []).length;
    const longest = Math.max(0, ...bands.map(room));
    const marginLeft = bands.length ? Math.min(Math.round(width * 0.42), longest + 18) : 56;
    const { label: yLabel, ...y } = chart.y;
    const { label: xLabel, ...x } = chart.x;
    const dated = (rows) => (x.type === "utc" ? rows.map((row) => ({ ...row, x: new Date(row.x) })) : rows);
    const yAxis = bands.length
      ? Plot.axisY({ label: yLabel, labelAnchor: "top", labelArrow: "none", tickSize: 0, lineWidth: (marginLeft - 14) / 12, textOverflow: "ellipsis" })
      : Plot.axisY({ label: yLabel, ticks: 5, labelArrow: "none" });
    const picture = Plot.plot({
      width,
      height: chart.height ?? (bands.length ? 28 * bands.length + 78 : 300),
      marginLeft,
      marginRight: 24,
      marginTop: 28,
      marginBottom: 46,
      style: { fontSize: "12px", background: "transparent", color: "var(--ink)" },
      x: { nice: true, ...x },
      y: bands.length ? y : { nice: true, ...y },
      color: chart.colors.length
        ? { domain: chart.colors, range: palette.slice(0, Math.max(chart.colors.length, 1)), type: "ordinal" }
        : { type: "categorical", range: palette },
      marks: [
        Plot.gridX({ stroke: "var(--faint)", strokeOpacity: 0.35, ticks: Math.max(3, Math.floor(width / 110)) }),
        ...(bands.length ? [] : [Plot.gridY({ stroke: "var(--faint)", strokeOpacity: 0.35, ticks: 5 })]),
        Plot.axisX({ label: xLabel, ticks: Math.max(3, Math.floor(width / 110)), labelAnchor: "center", labelArrow: "none" }),
        yAxis,
        ...chart.marks.map((mark) => Plot[mark.kind](dated(mark.data), mark.options)),
      ],
    });
    // The page's own style sheet carries these rules: its policy admits no other style element.
    for (const node of [picture, ...picture.querySelectorAll("*")]) {
      if (node.tagName === "style") node.remove();
    }
    box.replaceChildren(...(chart.colors.length > 1 ? [legend(chart.colors)] : []), picture);
  }

  for (const figure of document.querySelectorAll("figure.chart")) {
    const box = figure.querySelector(".plot");
    const chart = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    let drawn = box.clientWidth;
    draw(box, chart);
    new ResizeObserver(() => {
      if (Math.abs(box.clientWidth - drawn) > 4) {
        drawn = box.clientWidth;
        requestAnimationFrame(() => draw(box, chart));
      }
    }).observe(box);
  }
})();
