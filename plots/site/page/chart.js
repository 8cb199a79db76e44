// Draws the history of a page with Bokeh: points, intervals, levels, the reference band and changes; below it, a strip that chooses the range.
"use strict";
const history_ = JSON.parse(document.getElementById("history").textContent);
const place = document.getElementById("chart");
const told = document.getElementById("told");
const dark = matchMedia("(prefers-color-scheme: dark)");

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { ink: of("ink"), paper: of("paper"), line: of("line"), soft: of("soft"), point: of("link"), bad: of("bad"), level: of("good") };
}
const words = (number) => number === null ? "–" : String(Number(number.toPrecision(4)));
const text = (column) => column.at.map((i) => column.of[i]);

function columns(h) {
  const unit = h.unit ? ` ${h.unit}` : "";
  const outside = h.value.map((v, i) => (h.lowest[i] !== null && v < h.lowest[i]) || (h.highest[i] !== null && v > h.highest[i]));
  return {
    time: h.time, value: h.value, href: h.href, level: h.level.map((v) => v === null ? NaN : v),
    low: h.low.map((v) => v === null ? NaN : v), high: h.high.map((v) => v === null ? NaN : v),
    when: h.time.map((t) => new Date(t).toISOString().slice(0, 16).replace("T", " ")),
    shown: h.value.map((v) => words(v) + unit),
    interval: h.low.map((v, i) => v === null ? "not known" : `${words(v)} to ${words(h.high[i])}${unit}`),
    commit: text(h.commit), image: text(h.image), nodes: text(h.nodes),
    marker: outside.map((bad) => bad ? "x" : "circle"),
  };
}

// All values and intervals, and those limits of the reference that lie near them.
function extent(h) {
  const values = [...h.value, ...h.low, ...h.high].filter((v) => v !== null);
  const least = Math.min(...values), most = Math.max(...values), span = most - least || Math.abs(most) || 1;
  const near = [...h.lowest, ...h.highest].filter((v) => v !== null && v > least - 2 * span && v < most + 2 * span);
  return [Math.min(least, ...near) - 0.1 * span, Math.max(most, ...near) + 0.1 * span];
}

function band(plot, h, c, [least, most]) {
  const known = h.time.map((_, i) => i).filter((i) => h.lowest[i] !== null || h.highest[i] !== null);
  const times = known.map((i) => h.time[i]), edge = { line_color: c.ink, line_dash: [1, 3], line_width: 1 };
  const low = known.map((i) => h.lowest[i]), high = known.map((i) => h.highest[i]);
  plot.varea(times, low.map((v) => v === null ? least : v), high.map((v) => v === null ? most : v), { fill_color: c.line, fill_alpha: 0.35 });
  for (const side of [low, high]) plot.line(times, side.map((v) => v === null ? NaN : v), edge);
}

function styled(plot, c, label) {
  plot.background_fill_color = plot.border_fill_color = c.paper;
  plot.outline_line_color = c.line;
  for (const axis of [...plot.xaxes, ...plot.yaxes]) {
    Object.assign(axis, { axis_line_color: c.line, major_tick_line_color: c.line, minor_tick_line_color: null, major_label_text_color: c.ink,
                          axis_label_text_color: c.ink, major_label_text_font_size: "12px", axis_label_text_font_size: "13px", axis_label_text_font_style: "normal" });
  }
  for (const grid of [...plot.xgrids, ...plot.ygrids]) grid.grid_line_color = c.soft;
  if (label) plot.yaxes[0].axis_label = label;
  plot.xaxes[0].formatter = new Bokeh.DatetimeTickFormatter({ hours: "%H:%M", days: "%d %b", months: "%b %Y", years: "%Y" });
  plot.toolbar.logo = null;
}

function draw() {
  const h = history_, c = colours(), P = Bokeh.Plotting, narrow = place.clientWidth < 600;
  const source = new Bokeh.ColumnDataSource({ data: columns(h) });
  const times = [Math.min(...h.time), Math.max(...h.time)], edge = (times[1] - times[0] || 86400000) * 0.03;
  const tall = extent(h);
  const range = new Bokeh.Range1d({ start: times[0] - edge, end: times[1] + edge });
  const shared = { x_axis_type: "datetime", sizing_mode: "stretch_width", output_backend: "canvas" };
  const plot = P.figure({ ...shared, height: narrow ? 300 : 380, x_range: range, y_range: new Bokeh.Range1d({ start: tall[0], end: tall[1] }), tools: "pan,xwheel_zoom,box_zoom,reset,save,tap" });
  band(plot, h, c, tall);
  plot.segment({ field: "time" }, { field: "low" }, { field: "time" }, { field: "high" }, { source, line_color: c.point, line_alpha: 0.5, line_width: 2 });
  plot.step({ field: "time" }, { field: "level" }, "center", { source, line_color: c.level, line_width: 2 });
  const points = plot.scatter({ field: "time" }, { field: "value" }, { source, marker: { field: "marker" }, size: h.time.length > 300 ? 5 : 8, line_color: c.point, fill_color: c.point, nonselection_alpha: 1 });
  plot.add_tools(new Bokeh.HoverTool({ renderers: [points], tooltips: [["time", "@when"], ["value", "@shown"], ["95 % interval", "@interval"], ["commit", "@commit"], ["image", "@image"], ["nodes", "@nodes"]] }));
  const changes = new Bokeh.ColumnDataSource({ data: {
    time: h.changes.map((e) => e.time), value: h.changes.map((e) => e.value), text: h.changes.map((e) => e.text), colour: h.changes.map((e) => e.open ? c.bad : c.ink) } });
  for (const e of h.changes) plot.add_layout(new Bokeh.Span({ location: e.time, dimension: "height", line_color: e.open ? c.bad : c.ink, line_dash: [4, 4], line_width: 1.5 }));
  const arrows = plot.scatter({ field: "time" }, { field: "value" }, { source: changes, marker: "triangle", size: 14, line_color: c.paper, fill_color: { field: "colour" } });
  plot.add_tools(new Bokeh.HoverTool({ renderers: [arrows], tooltips: [["change", "@text"]] }));
  styled(plot, c, h.label);
  source.selected.change.connect(() => {
    const i = source.selected.indices[0];
    if (i === undefined) return;
    const link = document.createElement("a");
    link.href = h.href[i];
    link.textContent = "its session";
    told.replaceChildren(`${source.data.when[i]}: ${source.data.shown[i]}, 95 % interval ${source.data.interval[i]}, commit ${source.data.commit[i]}, image ${source.data.image[i]}, ${source.data.nodes[i]}: `, link);
  });
  const strip = P.figure({ ...shared, height: 80, tools: "", toolbar_location: null });
  strip.line({ field: "time" }, { field: "value" }, { source, line_color: c.point });
  styled(strip, c);
  strip.yaxes[0].visible = false;
  const chooser = new Bokeh.RangeTool({ x_range: range });
  chooser.overlay.fill_color = c.level;
  chooser.overlay.fill_alpha = 0.2;
  strip.add_tools(chooser);
  place.replaceChildren();
  return P.show(new Bokeh.Column({ children: [plot, strip], sizing_mode: "stretch_width" }), place).then(() => { place.dataset.drawn = "yes"; });
}
draw();
dark.addEventListener("change", draw);
