import type { Attr } from "../../wire/attrs.ts";

/** One kind of link: its name in `IFLA_INFO_KIND` and the table of `IFLA_INFO_DATA`. The next kind is one file. */
export interface LinkKind<Name extends string, Data> {
  readonly name: Name;
  readonly data: Attr<Data>;
}
