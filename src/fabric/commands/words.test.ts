import { describe, expect, test } from "bun:test";
import { expandWords, LINE_LIMIT, parseCommandLine } from "./words.ts";

const NAMES = ["SUBNET", "PUBLIC_IP"] as const;
const values = { SUBNET: "10.244.2.0/24", PUBLIC_IP: "192.0.2.2" };

function wordsOf(line: string, hostile: Partial<typeof values> = {}): readonly string[] | string {
  const read = parseCommandLine(line, NAMES);
  return read.ok ? expandWords(read.value, { ...values, ...hostile }) : read.why;
}

describe("a command line is read into words", () => {
  test.each([
    ["ip route add $SUBNET via $PUBLIC_IP", ["ip", "route", "add", "10.244.2.0/24", "via", "192.0.2.2"]],
    [
      'ip route add "$SUBNET" via "${PUBLIC_IP}"',
      ["ip", "route", "add", "10.244.2.0/24", "via", "192.0.2.2"],
    ],
    ["\t a   b\t", ["a", "b"]],
    ["a '' \"\"", ["a", "", ""]],
    ["a 'b c'd\"e f\"g\\ h", ["a", "b cde fg h"]],
    ["a '$SUBNET' \\$SUBNET \"\\$SUBNET\"", ["a", "$SUBNET", "$SUBNET", "$SUBNET"]],
    ['a "\\" \\\\ \\n \\`" \\\\', ["a", '" \\ \\n `', "\\"]],
    ["a '|&;<>()`*?[]{}#~!' \\| \"; * #\"", ["a", "|&;<>()`*?[]{}#~!", "|", "; * #"]],
    ["a x#y x~y b!", ["a", "x#y", "x~y", "b!"]],
    ["a x=$SUBNET,y:${PUBLIC_IP}_z", ["a", "x=10.244.2.0/24,y:192.0.2.2_z"]],
    ["a 'one\ntwo'", ["a", "one\ntwo"]],
    ["/opt/über", ["/opt/über"]],
    ["/bin/sh -c 'a | b; c \"$SUBNET\"'", ["/bin/sh", "-c", 'a | b; c "$SUBNET"']],
  ])("%j", (line, words) => {
    expect(wordsOf(line)).toEqual(words);
  });

  test("a shell reads the same words from it", () => {
    for (const line of [
      'printf "%s|" a "b c"d\\ e \'f"g\' "\\$h \\i" $SUBNET "<$PUBLIC_IP>"',
      "printf '%s|' \\\\ \\' \"'\" ''x '$SUBNET' a=b x#y",
    ]) {
      const words = wordsOf(line);
      if (typeof words === "string") throw new Error(words);
      const [, format, ...rest] = words;
      const { stdout } = Bun.spawnSync(["/bin/sh", "-c", line], { env: values });
      expect(format).toBe("%s|");
      expect(stdout.toString()).toBe(rest.map((word) => `${word}|`).join(""));
    }
  });

  test("a value is one word or a part of one, whatever is in it", () => {
    const evil = "a b; $(reboot) `x` 'y\" *\n$PUBLIC_IP";
    expect(wordsOf("x $SUBNET y=$SUBNET", { SUBNET: evil })).toEqual(["x", evil, `y=${evil}`]);
    expect(wordsOf("x $SUBNET", { SUBNET: "" })).toEqual(["x", ""]);
  });
});

describe("what a shell would do is refused", () => {
  test.each([
    ["a | b", "has | at character 3, which is a pipe to a shell"],
    ["a && b", "has & at character 3"],
    ["a; b", "has ; at character 2"],
    ["a > /x", "has > at character 3, which is a redirection"],
    ["a 2>/dev/null", "has > at character 4"],
    ["a < x", "has < at character 3"],
    ["a `b`", "has ` at character 3"],
    ['a "`b`"', "has ` at character 4"],
    ["a $(b)", "has $( at character 3, which is the output of a command"],
    ['a "$(b)"', "has $( at character 4"],
    ["a ${SUBNET%/*}", "has ${ at character 3, which is a variable that is changed"],
    ["a $1", "has $ at character 3"],
    ["a $", "has $ at character 3"],
    ["(a)", "has ( at character 1"],
    ["a *.conf", "has * at character 3, which is a pattern"],
    ["a ?", "has ? at character 3"],
    ["a [b]", "has [ at character 3"],
    ["a {b,c}", "has { at character 3"],
    ["a ~/x", "has ~ at character 3"],
    ["a # b", "has # at character 3"],
    ["! a", "has ! at character 1"],
    ["A=b c", "has A= at character 1, which is a variable that is set"],
    ["export A", 'has "export" at character 1'],
    ["a\nb", "has a line break at character 2"],
  ])("%j", (line, why) => {
    expect(wordsOf(line)).toStartWith(why);
    expect(wordsOf(line)).toContain("script");
  });
});

test.each([
  ["a $HOME", "has no value for $HOME: there are $SUBNET, $PUBLIC_IP"],
  ["a $SUBNETX", "has no value for $SUBNETX"],
  ["a 'b", "has a ' that is not closed"],
  ['a "b', 'has a " that is not closed'],
  ["a \\", "has a backslash with nothing behind it"],
  ["a\rb", "has a control character at character 2"],
  ["a\0b", "has a zero byte"],
  [" \t ", "is blank"],
  ["$SUBNET x", "must begin with the name of a program"],
  ["x$SUBNET y", "must begin with the name of a program"],
  ["'' x", "must begin with the name of a program"],
  ["a".repeat(LINE_LIMIT + 1), "is longer than 8192 characters"],
])("%.20j is refused with its reason", (line, why) => {
  expect(wordsOf(line)).toStartWith(why);
});
