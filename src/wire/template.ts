import { align4, DecodeError } from "./attrs.ts";
import { viewOf } from "./fixed.ts";

/**
 * A message of which thousands are sent that differ in a few payloads: written once by its table, then copied and filled in. Ten
 * times as fast as the table, whose layout it has.
 */
export interface Template {
  /** A copy with these payloads, in the order of the attributes that were named; each as long as the one in the sample. */
  readonly fill: (first: Uint8Array, second?: Uint8Array) => Uint8Array;
}

/**
 * `headSize` bytes of `sample` are its struct, after which the attributes stand of which one or two are to be filled in, named
 * by their numbers.
 */
export function template(sample: Uint8Array, headSize: number, first: number, second?: number): Template {
  const one = payloadOf(sample, headSize, first);
  const two = second === undefined ? undefined : payloadOf(sample, headSize, second);
  return {
    fill(a, b) {
      if (a.length !== one.length || b?.length !== two?.length)
        throw new RangeError("a payload does not fit into its message");
      const out = sample.slice();
      out.set(a, one.at);
      if (b !== undefined && two !== undefined) out.set(b, two.at);
      return out;
    },
  };
}

function payloadOf(
  message: Uint8Array,
  from: number,
  type: number,
): { readonly at: number; readonly length: number } {
  const view = viewOf(message);
  for (let at = from; at < message.length;) {
    const length = view.getUint16(at, true);
    if (view.getUint16(at + 2, true) === type) return { at: at + 4, length: length - 4 };
    at += align4(length);
  }
  throw new DecodeError(`the message has no attribute ${type}`);
}

/**
 * The template of messages that have all else in common with `sample`, as `same` says; the last one is kept, since those of which
 * there are many come one after the other.
 */
export function lastTemplate<S>(
  same: (a: S, b: S) => boolean,
  make: (sample: S) => Template,
): (sample: S) => Template {
  let last: { readonly sample: S; readonly made: Template } | undefined;
  return (sample) => {
    if (last === undefined || !same(last.sample, sample)) last = { sample, made: make(sample) };
    return last.made;
  };
}
