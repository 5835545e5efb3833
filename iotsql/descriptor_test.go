package iotsql

import "encoding/binary"

// wire builds protobuf messages for tests.
type wire []byte

func (w wire) varint(field int, v uint64) wire {
	w = binary.AppendUvarint(w, uint64(field)<<3)
	return binary.AppendUvarint(w, v)
}

func (w wire) bytes(field int, b []byte) wire {
	w = binary.AppendUvarint(w, uint64(field)<<3|2)
	w = binary.AppendUvarint(w, uint64(len(b)))
	return append(w, b...)
}

func (w wire) text(field int, s string) wire { return w.bytes(field, []byte(s)) }

func (w wire) fixed64(field int, v uint64) wire {
	w = binary.AppendUvarint(w, uint64(field)<<3|1)
	return binary.LittleEndian.AppendUint64(w, v)
}

func (w wire) fixed32(field int, v uint32) wire {
	w = binary.AppendUvarint(w, uint64(field)<<3|5)
	return binary.LittleEndian.AppendUint32(w, v)
}

func fieldDescriptor(name string, number, label, kind int, typeName string) []byte {
	w := wire(nil).text(1, name).varint(3, uint64(number)).varint(4, uint64(label)).varint(5, uint64(kind))
	if typeName != "" {
		w = w.text(6, typeName)
	}
	return w
}

// testDescriptorSet is telemetry.proto:
//
//	syntax = "proto3";
//	package plant;
//	message Telemetry {
//	  enum Kind { KIND_NORMAL = 0; KIND_ALERT = 1; }
//	  message Point { sint32 x = 1; fixed32 y = 2; }
//	  Kind kind = 1;
//	  string instrument_tag = 2;
//	  int32 timestamp = 3;
//	  double value = 4;
//	  repeated int64 counts = 5;
//	  Point at = 6;
//	  map<string, bool> flags = 7;
//	  bytes raw = 8;
//	  optional float level = 9;
//	  Telemetry inner = 10;
//	}
func testDescriptorSet() []byte {
	kind := wire(nil).text(1, "Kind").
		bytes(2, wire(nil).text(1, "KIND_NORMAL")).
		bytes(2, wire(nil).text(1, "KIND_ALERT").varint(2, 1))
	point := wire(nil).text(1, "Point").
		bytes(2, fieldDescriptor("x", 1, 1, protoSint32, "")).
		bytes(2, fieldDescriptor("y", 2, 1, protoFixed32, ""))
	entry := wire(nil).text(1, "FlagsEntry").
		bytes(2, fieldDescriptor("key", 1, 1, protoString, "")).
		bytes(2, fieldDescriptor("value", 2, 1, protoBool, "")).
		bytes(7, wire(nil).varint(7, 1))
	level := append(fieldDescriptor("level", 9, 1, protoFloat, ""), wire(nil).varint(17, 1)...)
	message := wire(nil).text(1, "Telemetry").
		bytes(2, fieldDescriptor("kind", 1, 1, protoEnum, ".plant.Telemetry.Kind")).
		bytes(2, fieldDescriptor("instrument_tag", 2, 1, protoString, "")).
		bytes(2, fieldDescriptor("timestamp", 3, 1, protoInt32, "")).
		bytes(2, fieldDescriptor("value", 4, 1, protoDouble, "")).
		bytes(2, fieldDescriptor("counts", 5, 3, protoInt64, "")).
		bytes(2, fieldDescriptor("at", 6, 1, protoMessageType, ".plant.Telemetry.Point")).
		bytes(2, fieldDescriptor("flags", 7, 3, protoMessageType, ".plant.Telemetry.FlagsEntry")).
		bytes(2, fieldDescriptor("raw", 8, 1, protoBytes, "")).
		bytes(2, level).
		bytes(2, fieldDescriptor("inner", 10, 1, protoMessageType, ".plant.Telemetry")).
		bytes(3, point).bytes(3, entry).bytes(4, kind)
	file := wire(nil).text(1, "telemetry.proto").text(2, "plant").bytes(4, message).text(12, "proto3")
	return wire(nil).bytes(1, file)
}

func testDescriptors() (*Descriptors, error) { return ParseDescriptors(testDescriptorSet()) }
