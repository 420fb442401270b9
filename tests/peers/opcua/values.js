// Values as JSON, and as variants of the type that a variable has.
"use strict";

const { DataValue } = require("node-opcua-data-value");
const { resolveNodeId } = require("node-opcua-nodeid");
const { StatusCodes } = require("node-opcua-status-code");
const { DataType, Variant, VariantArrayType } = require("node-opcua-variant");

const NUMBERS = new Set(
  ["SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Float", "Double"].map((name) => DataType[name]),
);

/** Turn one JSON value into one of a built-in type; "NaN" and "Infinity" are numbers, dates are ISO 8601. */
function scalar(dataType, value) {
  if (NUMBERS.has(dataType)) return Number(value);
  switch (dataType) {
    case DataType.Int64:
    case DataType.UInt64:
      return halves(BigInt(value));
    case DataType.DateTime:
      return new Date(value);
    case DataType.ByteString:
      return Buffer.from(value, "base64");
    case DataType.NodeId:
      return resolveNodeId(value);
    case DataType.StatusCode:
      return statusCode(value);
    default:
      return value;
  }
}

/** Split 64 bits as node-opcua holds them: the upper half, the lower half. */
function halves(value) {
  const bits = BigInt.asUintN(64, value);
  return [Number(bits >> 32n), Number(bits & 0xffffffffn)];
}

/** Return a status code by its name. */
function statusCode(name) {
  if (!(name in StatusCodes)) throw new Error(`${name} is no status code`);
  return StatusCodes[name];
}

/** Turn a JSON value into a variant; a list into an array, null into the empty variant. */
function variant(dataType, value) {
  if (value === null) return new Variant({ dataType: DataType.Null });
  if (!Array.isArray(value)) {
    return new Variant({ dataType, arrayType: VariantArrayType.Scalar, value: scalar(dataType, value) });
  }
  const list = value.map((one) => scalar(dataType, one));
  return new Variant({ dataType, arrayType: VariantArrayType.Array, value: list });
}

/** Return a value under a status, with a source time in microseconds since the epoch (now if there is none). */
function dataValue(value, status, microseconds) {
  const time = microseconds ?? Date.now() * 1000;
  const beside = (time % 1000) * 1e6; // picoseconds: what a Date has no room for
  return new DataValue({
    value,
    statusCode: statusCode(status ?? "Good"),
    sourceTimestamp: new Date(Math.floor(time / 1000)),
    sourcePicoseconds: beside,
    serverTimestamp: new Date(),
  });
}

module.exports = { dataValue, variant };
