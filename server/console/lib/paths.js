// The path of a series: what SVG's `d` says of it, no finer than the screen.

// {line, area} of `series` in points from `begin` on. `x` and `y` map times and values to pixels; lines break where
// nothing was measured and where points are more than `gap` milliseconds apart. `floor` is where areas end.
export function path(points, series, begin, x, y, gap, floor) {
  let line = "";
  let area = "";
  let run = [];
  const end = () => {
    if (run.length === 0) return;
    // A point alone is seen as a dot: round line caps are drawn on a line of no length, too.
    const drawn = `M${run.join("L")}${run.length === 1 ? "h0" : ""}`;
    line += drawn;
    if (run.length > 1) {
      const [first] = run[0].split(",");
      const [last] = run.at(-1).split(",");
      area += `${drawn}L${last},${floor}L${first},${floor}Z`;
    }
    run = [];
  };
  for (let index = begin; index < points.length; ) {
    const time = points.time(index);
    const value = points.value(index, series);
    if (Number.isNaN(value)) {
      end();
      index++;
      continue;
    }
    if (run.length > 0 && time - points.time(index - 1) > gap) end();
    // Of points that fall on one column of pixels the lowest, the highest and the last are drawn: no more are seen.
    const column = Math.round(x(time));
    let low = value;
    let high = value;
    let last = value;
    for (index++; index < points.length && Math.round(x(points.time(index))) === column; index++) {
      const next = points.value(index, series);
      if (Number.isNaN(next)) break;
      low = Math.min(low, next);
      high = Math.max(high, next);
      last = next;
    }
    for (const each of new Set([low, high, last])) run.push(`${column},${y(each).toFixed(1)}`);
  }
  end();
  return { line, area };
}

// The lowest and the highest value of `series` (a list) from `begin` on; null without any.
export function extent(points, series, begin) {
  let low = Infinity;
  let high = -Infinity;
  for (const each of series) {
    for (let index = begin; index < points.length; index++) {
      const value = points.value(index, each);
      // NaN is neither.
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return high < low ? null : { low, high };
}
