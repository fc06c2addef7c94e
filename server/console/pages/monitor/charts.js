// The last ten minutes.

import { makeChart } from "../../lib/chart.js";
import { element } from "../../lib/dom.js";
import { milliseconds, number } from "../../lib/format.js";
import { t } from "./texts.js";

const perSecond = (name) => (sample) => (sample.seconds > 0 ? sample[name] / sample.seconds : null);
const inMilliseconds = (name) => (sample) => (sample[name] === null ? null : sample[name] * 1000);
const inPercent = (sample) => (sample.seconds > 0 ? (sample.cpu_seconds / sample.seconds) * 100 : null);
const inMebibytes = (sample) => (sample.resident_bytes === null ? null : sample.resident_bytes / 1_048_576);
const whole = (value) => number(value);

// Ten minutes of samples, and some.
const CAPACITY = 320;

// Each with its series: [text, value of a sample].
const CHARTS = {
  flow: { series: [["publications", perSecond("publications")], ["deliveries", perSecond("deliveries")]] },
  latency: {
    series: [
      ["fanout", inMilliseconds("fanout_p99")], ["lag", inMilliseconds("lag_p99")],
      ["requests", inMilliseconds("request_p99")],
    ],
    format: milliseconds,
  },
  connections: { series: [["connections", (sample) => sample.connections]], whole: true, format: whole },
  trouble: {
    series: [
      ["slow_consumers", (sample) => sample.slow_consumers], ["refusals", (sample) => sample.refusals],
      ["closes", (sample) => sample.closes],
    ],
    whole: true, format: whole,
  },
  cpu: { series: [["cpu", inPercent]] },
  memory: { series: [["memory", inMebibytes]] },
};

export class Charts {
  #charts = Object.entries(CHARTS).map(([key, { series, ...options }]) => {
    const names = series.map(([name]) => ({ label: t(`series_${name}`) }));
    const title = t(`chart_${key}`);
    const chart = makeChart({ label: title, series: names, capacity: CAPACITY, ...options });
    chart.id = `chart-${key}`;
    return { title, chart, values: series.map(([, value]) => value) };
  });

  constructor() {
    const cards = this.#charts.map(({ title, chart }) => (
      element("section", { className: "card" }, element("h2", {}, title), chart)));
    this.element = element("div", { className: "charts" }, ...cards);
  }

  show({ fresh }) {
    for (const { chart, values } of this.#charts) {
      for (const sample of fresh) chart.add(sample.at, values.map((value) => value(sample)));
    }
  }
}
