// What the three clients share: a digit, and how its scores are read.
export const pixels: number[] = Array.from({ length: 64 }, (_, at) => ((at % 8) - 3.5) ** 2 < 4 ? 12 : 0);

/** Raw tensor contents of the Open Inference Protocol: little-endian, as on every machine that Node runs on. */
export function raw(values: number[]): Uint8Array {
  return new Uint8Array(new Float32Array(values).buffer);
}

export function scores(bytes: Uint8Array): number[] {
  const copy = new Uint8Array(bytes); // a copy: a message's bytes need not begin where a float may, and Buffer.slice is a view
  return Array.from(new Float32Array(copy.buffer, 0, copy.byteLength / 4));
}

export function say(wire: string, found: number[]): void {
  const best = found.indexOf(Math.max(...found));
  console.log(JSON.stringify({ wire, best, scores: found }));
}

/** A setting from the environment, or the address of `make run`. */
export function at(name: string, otherwise: string): string {
  return process.env[name] ?? otherwise;
}
