// Package policy parses AWS IoT policy documents and decides with them.
//
// The language is the one of the AWS IoT Core developer guide ("AWS IoT Core
// policies") on the grammar of IAM JSON policies: statements that allow or
// deny actions on resources, with the wildcards * and ?, policy variables such
// as ${iot:Connection.Thing.ThingName}, and conditions. An explicit deny wins
// over an allow, and what nothing allows is denied.
//
// A document passes through three steps, each dearer than the next:
//
//   - [Parse], once per stored document, checks it and splits its patterns;
//   - [Compile], once per connection, puts in the variables, settles the
//     conditions, matches the ARN prefix away and leaves one small table per
//     action;
//   - [Set.Allows], once per message, compares a topic with that table. It
//     does not allocate.
//
// [Set.Explain] answers the same question at leisure, with the statement that
// decided or, for a denial, what came close. It does not use the tables: it
// evaluates the documents as they are written, so that each checks the other
// in the tests.
//
// Where AWS is silent the package takes the reading that lets less through;
// such places say so.
package policy
