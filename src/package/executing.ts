/** A runtime for processes that live on. */
import { emptyHost, type Env } from "../cni/host.ts";
import type { Runtime } from "../cni/runtime.ts";

export interface ExecutingOptions {
  /** The directories in which plugins are looked for, as in `CNI_PATH`. */
  readonly path: readonly string[];
  /** Default: `/var/lib/cni`. */
  readonly cacheDir?: string;
  /** The variables that plugins inherit. Default: those of this process. */
  readonly env?: Env;
  /** Takes what plugins write to standard error, and warnings. */
  readonly log?: (message: string) => void;
  /** Ends the plugins that run; what ADD has made is then taken back. */
  readonly signal?: AbortSignal;
}

/** A runtime that executes every plugin as a process of its own. */
export const executing = ({ path, env, ...rest }: ExecutingOptions): Runtime => ({
  host: emptyHost,
  path: path.join(":"),
  env: env ?? process.env,
  ...rest,
});
