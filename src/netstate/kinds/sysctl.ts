/** A parameter of the kernel; a borrowed one gets its old value back if nobody changed it since. */
import { NetError } from "../../errors.ts";
import { errnoOf } from "../../sys/files.ts";
import { readSysctl, sameSysctlValue, writeSysctl } from "../../sys/sysctl.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  type KindOperations,
  type RemoveContext,
} from "../context.ts";
import type { SysctlObject } from "../model.ts";
import { at } from "../spaces.ts";

function apply(o: SysctlObject, context: ApplyContext): void {
  at(context.spaces, o.place, () => {
    const old = readSysctl(o.key);
    if (old === undefined && o.optional) return;
    if (old === undefined)
      throw new NetError("feature/missing", { feature: `sysctl ${o.key}`, needs: whoHas(o.key) });
    if (sameSysctlValue(old, o.value)) return;
    if (o.possession === "borrowed") {
      context.borrow(o, old);
      context.undo.defer(() => give(o, old, context));
    }
    write(o);
  });
}

/** What has to be there for this parameter. */
function whoHas(key: string): string {
  const link = /^net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\//.exec(key)?.[1];
  return link === undefined ? "a kernel that has it" : `a link ${link}, or a kernel that has it`;
}

function write({ key, value }: SysctlObject): void {
  try {
    writeSysctl(key, value);
  } catch (cause) {
    if (errnoOf(cause) !== "EINVAL") throw cause;
    const why = `the kernel does not take the value "${value}"`;
    throw new NetError("config/invalid", { field: `sysctl ${key}`, why }, { cause });
  }
}

/** Puts the old value back, unless somebody has changed it since. */
function give(o: SysctlObject, old: string, context: Context): void {
  at(context.spaces, o.place, () => {
    if (sameSysctlValue(readSysctl(o.key), o.value)) writeSysctl(o.key, old);
  });
}

/** What is the container's own may have been set otherwise since, by a later plugin of the list (tuning). */
function verify(o: SysctlObject, context: Context): void {
  if (o.possession === "exclusive") return;
  const found = at(context.spaces, o.place, () => readSysctl(o.key));
  if (found === undefined && o.optional) return;
  if (!sameSysctlValue(found, o.value)) expectSame(`sysctl ${o.key}`, o.value, found ?? "none");
}

function remove(o: SysctlObject, context: RemoveContext): void {
  const old = context.borrowed(o);
  if (old !== undefined && (o.place === "host" || context.spaces.container)) give(o, old, context);
}

export const sysctl: KindOperations<SysctlObject> = { apply, verify, remove };
