// The state of the page in its URL, so that a reload keeps it and a link shows a colleague the same.

const NAME = /^[a-z0-9-]{1,40}$/;
const INK = /^[0-9a-g]{64}$/; // 64 cells of 0 to 16, a digit of base 17 each

const whole = (text, allowed) => (allowed.includes(Number(text)) ? Number(text) : null);

/** What the URL says, as far as it can be read: anything else is as if it were not there. */
export function read(search, { sizes, concurrency }) {
  const query = new URLSearchParams(search);
  const names = (key) => {
    const found = (query.get(key) ?? "").split(",").filter((name) => NAME.test(name));
    return found.length ? found : null;
  };
  const drawn = query.get("drawing") ?? "";
  return {
    payload: whole(query.get("payload"), sizes),
    concurrency: whole(query.get("concurrency"), concurrency),
    upstreams: names("upstreams"),
    racers: names("racers"),
    drawing: INK.test(drawn) ? [...drawn].map((cell) => parseInt(cell, 17)) : null,
    result: readResult(query.get("result") ?? "", sizes),
  };
}

/** The query of a state; members that are null are left out. */
export function write({ payload, concurrency, upstreams, racers, drawing, result }) {
  const parts = {
    payload, concurrency, upstreams: upstreams?.join(","), racers: racers?.join(","),
    drawing: drawing?.map((ink) => ink.toString(17)).join(""), result: result && writeResult(result),
  };
  const query = Object.entries(parts).filter(([, value]) => value).map(([name, value]) => `${name}=${value}`).join("&");
  return query ? `?${query}` : location.pathname;
}

/** `{reference, points: Map(size -> Map(name -> {ratio, low, high}))}` as text: `rest-binary/1024:grpc:1.9:1.8:2.1,...` */
export function writeResult({ reference, points }) {
  const items = [...points].flatMap(([size, ratios]) => [...ratios].map(([name, { ratio, low, high }]) =>
    [size, name, ...[ratio, low, high].map((value) => Number(value.toPrecision(3)))].join(":")));
  return items.length ? `${reference}/${items.join(",")}` : "";
}

export function readResult(text, sizes) {
  const [reference, list = ""] = text.split("/");
  const points = new Map();
  for (const item of list.split(",").slice(0, 200)) {
    const [size, name, ...numbers] = item.split(":");
    const [ratio, low, high] = numbers.map(Number);
    if (!sizes.includes(Number(size)) || !NAME.test(name ?? "") || !(low > 0 && low <= ratio && ratio <= high && high < 1e6)) continue;
    if (!points.has(Number(size))) points.set(Number(size), new Map());
    points.get(Number(size)).set(name, { ratio, low, high });
  }
  return points.size && NAME.test(reference) ? { reference, points } : null;
}
