// Package iotsql parses and evaluates the SQL of AWS IoT rules.
//
// The language is the one of the AWS IoT Core developer guide, "AWS IoT SQL reference", in its
// versions 2015-10-08 and 2016-03-23: SELECT with paths, aliases, VALUE and nested queries, SET
// variables, WHERE, CASE, the operators with their conversion tables, the functions, and the
// substitution templates of rule actions. MQTT 5 properties, protobuf and Avro payloads included.
//
// A statement passes through two steps:
//
//   - [Parse], once per rule, checks it, reports mistakes with line, column and a hint, and compiles
//     it into closures;
//   - [Query.Eval], once per message, reads from the raw JSON only what the statement names and
//     appends the result to a slice. Plain selections and comparisons do not allocate.
//
// A [Message] holds one payload and the index of its top level, so that many queries share the work
// of looking at it. The package has no clock, no randomness and no network of its own: whatever lies
// outside the payload comes through the [Context].
//
// [Query.Explain] answers at leisure: with the value of every part of the statement for one message.
//
// # Numbers
//
// Int and Decimal are exact, with 34 significant digits and magnitudes from 1E-999 to below 1E1000;
// a result beyond that is Undefined. Numbers that are only passed on keep the text they came with.
// Version 2016-03-23 takes a number that is whole, such as 10.0, for the Int 10; the results of
// operators keep the type that the guide's tables give them.
//
// # Where the guide contradicts itself
//
// Its tables win over its examples: get counts the characters of a string from 0, concat returns a
// single argument as it is, Int divided by Int is an Int. Two examples win, because the tables are
// silent or misprinted there: round goes away from zero at one half, and substring cuts the decimals
// of its indices off. The scripts in testdata name each such place.
package iotsql
