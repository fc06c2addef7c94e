// The last ten minutes.

import { makeChart } from "../../lib/chart.js";
import { element } from "../../lib/dom.js";
import { milliseconds, number } from "../../lib/format.js";
import { t } from "./texts.js";

const perSecond = (name) => (sample) => (sample.seconds > 0 ? sample[name] / sample.seconds : null);
const inMilliseconds = (name) => (sample) => (sample[name] === null ? null : sample[name] * 1000);
const MEBIBYTE = 1_048_576;

// Each with its series: [text, value of a sample].
const CHARTS = {
  flow: { series: [["publications", perSecond("publications")], ["deliveries", perSecond("deliveries")]] },
  latency: {
    series: [["fanout", inMilliseconds("fanout_p99")], ["lag", inMilliseconds("lag_p99")], ["requests", inMilliseconds("request_p99")]],
    format: milliseconds,
  },
  connections: { series: [["connections", (sample) => sample.connections]], whole: true, format: (value) => number(value) },
  trouble: {
    series: [["slow_consumers", (sample) => sample.slow_consumers], ["refusals", (sample) => sample.refusals], ["closes", (sample) => sample.closes]],
    whole: true, format: (value) => number(value),
  },
  cpu: { series: [["cpu", (sample) => (sample.seconds > 0 ? (sample.cpu_seconds / sample.seconds) * 100 : null)]] },
  memory: { series: [["memory", (sample) => (sample.resident_bytes === null ? null : sample.resident_bytes / MEBIBYTE)]] },
};

export class Charts {
  #charts = Object.entries(CHARTS).map(([key, { series, ...options }]) => {
    const chart = makeChart({ label: t(`chart_${key}`), series: series.map(([name]) => ({ label: t(`series_${name}`) })), capacity: 400, ...options });
    chart.id = `chart-${key}`;
    return { chart, values: series.map(([, value]) => value) };
  });

  constructor() {
    this.element = element("div", { className: "charts" }, ...this.#charts.map(({ chart }, index) => (
      element("section", { className: "card" }, element("h2", {}, t(`chart_${Object.keys(CHARTS)[index]}`)), chart))));
  }

  show({ fresh }) {
    for (const { chart, values } of this.#charts) {
      for (const sample of fresh) chart.add(sample.at, values.map((value) => value(sample)));
    }
  }
}
