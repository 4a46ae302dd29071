/**
 * `heddle/nftables`: rule sets as data, compiled to one atomic batch of netlink messages and listed back, in the namespace
 * that the process is in. No program is started.
 */
export { isNetError, NetError } from "../errors.ts";
export { type Ip, type IpPrefix, parseIp, parsePrefix } from "../net/ip.ts";
export type { Parsed } from "../net/brand.ts";
export { openRuleSet } from "../nft/available.ts";
export {
  addChain,
  addElements,
  addRule,
  addSet,
  addTable,
  commit,
  type Creation,
  deleteChain,
  deleteElements,
  deleteRules,
  deleteSet,
  deleteTable,
} from "../nft/batch.ts";
export type { KeyType, Scalar, TypeName } from "../nft/data-types.ts";
export type { Expr } from "../nft/expr.ts";
export {
  findChain,
  findElement,
  findTable,
  generation,
  listChains,
  listElements,
  listRules,
  listSets,
  listTables,
  type SetInfo,
  type TableInfo,
} from "../nft/list.ts";
export type { NftFamily } from "../nft/attrs.ts";
export type {
  Base,
  Chain,
  ChainInfo,
  Element,
  Hook,
  Rule,
  RuleInfo,
  SetSpec,
  TableRef,
} from "../nft/model.ts";
export { type Field, rule, type Statement } from "../nft/statement.ts";
export type { Verdict } from "../nft/verdict.ts";
