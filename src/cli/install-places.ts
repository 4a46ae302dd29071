/** Which form each plugin has in a directory of plugins: a link to the executable, or a small file that starts it. */
import { type PluginType, pluginTypes } from "../plugins/registry.ts";

/** The directory that runtimes use if nobody says otherwise; the small files know the executable by it. */
const USUAL = "/opt/cni/bin";

/**
 * Plugins that others copy to their name without taking away what is there: flanneld's DaemonSet does it with `cp -f`, which
 * through a link would write over the executable, and so over every plugin.
 */
const COPIED_OVER: readonly PluginType[] = ["flannel"];

/** Of the usual directory, also where it is mounted elsewhere: `/host/opt/cni/bin`. */
export function placesFor(dir: string): {
  readonly links: readonly string[];
  readonly stubs: readonly string[];
} {
  const isUsual = dir.replace(/\/+$/, "").endsWith(USUAL);
  const stubs = isUsual ? COPIED_OVER : [];
  return { links: pluginTypes.filter((type) => !stubs.includes(type)), stubs };
}
