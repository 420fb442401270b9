// The machine that the server has: a variable of every kind that a driver meets.
"use strict";

const { standardUnits } = require("node-opcua-data-access");
const { DataType, Variant, VariantArrayType } = require("node-opcua-variant");
const { dataValue, variant } = require("./values.js");

const MACHINE = "urn:lineside:peer";
const TYPES = "urn:lineside:peer:types";

// s=Scalar.TYPE; tests/opcua_peer.py has the same values
const SCALARS = {
  Boolean: true,
  SByte: -128,
  Byte: 255,
  Int16: -32768,
  UInt16: 65535,
  Int32: -2147483648,
  UInt32: 4294967295,
  Int64: "-9223372036854775808",
  UInt64: "18446744073709551615",
  Float: 1.5,
  Double: 0.1,
  String: "Grüße, 轮胎",
  DateTime: "2026-01-02T03:04:05.678Z",
  Guid: "72962B91-FA75-4AE6-8D28-B404DC7DAF63",
  ByteString: "AP8Q",
  XmlElement: "<a>1</a>",
  NodeId: "ns=1;s=Machine",
  StatusCode: "BadOutOfService",
  QualifiedName: { namespaceIndex: 1, name: "Drum" },
  LocalizedText: { locale: "de", text: "Trommel" },
};

// s=Array.TYPE
const ARRAYS = {
  Boolean: [true, false, true],
  Int16: [-1, 0, 1],
  Double: [0.5, 1.5, 2.5, 3.5],
  String: ["a", "", "c"],
  LocalizedText: [
    { locale: "en", text: "open" },
    { locale: "en", text: "shut" },
  ],
};

/** The machine's nodes, by their string identifiers in the namespace `MACHINE`. */
class Machine {
  /** Build it in an address space; `options` are those of server.js. */
  constructor(space, options) {
    this.space = space;
    this.names = space.getNamespace(MACHINE);
    this.folder = this.names.addObject({
      nodeId: "s=Machine",
      browseName: "Machine",
      organizedBy: space.rootFolder.objects,
      notifierOf: space.rootFolder.objects.server,
      eventNotifier: 1,
    });
    for (const [type, value] of Object.entries(SCALARS)) this.add(`Scalar.${type}`, value, type);
    for (const [type, value] of Object.entries(ARRAYS)) this.add(`Array.${type}`, value, type);
    for (let i = 0; i < options.bulk; i++) this.add(`Bulk.${i}`, i, "UInt32");
    this.addPlain();
    this.addTyped();
    this.addMeasured();
    this.addAlarm();
    this.addHistory();
    this.startCounter(options.counterPeriod);
  }

  /** Return a variable by its name. */
  variable(name) {
    const found = this.names.findNode(`s=${name}`);
    if (!found) throw new Error(`there is no node ${name}`);
    return found;
  }

  /** Add a variable: of a built-in type, or of one of the machine's own, whose values are `DataType[basic]`. */
  add(name, value, type, { basic = type, ...more } = {}) {
    const made = this.names.addVariable({
      nodeId: `s=${name}`,
      browseName: name,
      componentOf: this.folder,
      dataType: type,
      valueRank: Array.isArray(value) ? 1 : -1,
      accessLevel: "CurrentRead",
      ...more,
    });
    if (!(basic in DataType)) throw new Error(`${basic} is no built-in type`);
    this.put(made, dataValue(variant(DataType[basic], value)));
    return made;
  }

  /** Remove a node; monitored items of it go bad. */
  delete(name) {
    this.names.deleteNode(this.variable(name));
  }

  /** Give a variable a value, a status and a source time; without a value it keeps the one that it has. */
  set(name, { value, status, time }) {
    const node = this.variable(name);
    const present = node.readValue().value;
    let next = present;
    if (value !== undefined) {
      const type = node.getBasicDataType();
      next = type === DataType.ExtensionObject ? this.structure(node.dataType, value) : variant(type, value);
    }
    this.put(node, dataValue(next, status, time));
  }

  /** Return a variable's value as it is held, and its status. */
  get(name) {
    const { value, statusCode } = this.variable(name).readValue();
    return { value: value.value ?? null, status: statusCode.name };
  }

  /** Store a value as it is: `setValueFromSource` would keep milliseconds only. */
  put(node, whole) {
    node._internal_set_dataValue(whole);
  }

  /** Return a structure's value; `value` has its fields. */
  structure(dataType, value) {
    return new Variant({ dataType: DataType.ExtensionObject, value: this.space.constructExtensionObject(dataType, value) });
  }

  addPlain() {
    this.add("Setpoint", 50, "Double", { accessLevel: "CurrentRead | CurrentWrite" });
    this.add("Hidden", 1, "Double", { accessLevel: "CurrentWrite" });
    this.put(this.add("Broken", 0, "Double"), dataValue(new Variant(), "BadSensorFailure"));
    const old = new Variant({ dataType: DataType.Double, value: 7 });
    this.put(this.add("Old", 0, "Double"), dataValue(old, "UncertainLastUsableValue"));
    this.put(
      this.add("Matrix", [], "Double", { valueRank: 2, arrayDimensions: [2, 3] }),
      dataValue(
        new Variant({
          dataType: DataType.Double,
          arrayType: VariantArrayType.Matrix,
          dimensions: [2, 3],
          value: [1, 2, 3, 4, 5, 6],
        }),
      ),
    );
  }

  /** Enumerations with EnumStrings and with EnumValues (Part 3, 8.40), and a structure. */
  addTyped() {
    const state = this.names.addEnumerationType({
      browseName: "StateType",
      enumeration: ["Stopped", "Running", "Faulted"],
    });
    this.add("State", 1, state, { basic: "Int32" });
    const mode = this.names.addEnumerationType({
      browseName: "ModeType",
      enumeration: [
        { displayName: "Manual", value: 10 },
        { displayName: "Automatic", value: 20 },
      ],
    });
    this.add("Mode", 20, mode, { basic: "Int32" });
    const type = this.space.findDataType("Recipe", this.space.getNamespaceIndex(TYPES));
    const recipe = this.add("Recipe", null, type, { basic: "ExtensionObject" });
    const fields = { name: "winter", seconds: 900, temperatures: [160.5, 171.5], pressure: { low: 14, high: 21.5 } };
    this.put(recipe, dataValue(this.structure(type.nodeId, fields)));
  }

  /** Analog items with a range and a unit (Part 8, 5.3.2). */
  addMeasured() {
    const items = {
      Temperature: [171.5, 0, 200, standardUnits.degree_celsius],
      Pressure: [16, 0, 25, standardUnits.bar],
    };
    for (const [name, [value, low, high, unit]] of Object.entries(items)) this.addRanged(name, value, low, high, unit);
  }

  addRanged(name, value, low, high, engineeringUnits = standardUnits.degree_celsius) {
    this.names.addAnalogDataItem({
      nodeId: `s=${name}`,
      browseName: name,
      componentOf: this.folder,
      dataType: "Double",
      engineeringUnitsRange: { low, high },
      engineeringUnits,
      value: { dataType: "Double", value },
    });
  }

  /** A level whose alarm (Part 9, 5.8.18) is active from 80 up and from 20 down. */
  addAlarm() {
    this.space.installAlarmsAndConditionsService();
    const level = this.add("Level", 50, "Double", { eventSourceOf: this.folder });
    this.alarm = this.names.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
      nodeId: "s=LevelAlarm",
      browseName: "LevelAlarm",
      componentOf: this.folder,
      conditionName: "LevelAlarm",
      conditionSource: level,
      inputNode: level,
      lowLimit: 20,
      lowLowLimit: 10,
      highLimit: 80,
      highHighLimit: 90,
      optionals: ["ConfirmedState", "Confirm"],
    });
  }

  addHistory() {
    const recorded = this.add("Recorded", 1, "Double", { accessLevel: "CurrentRead | HistoryRead" });
    this.space.installHistoricalDataNode(recorded, { maxOnlineValues: 10000 });
  }

  /** A counter that goes up once a period, of so many milliseconds. */
  startCounter(period) {
    let count = 0;
    this.add("Counter", count, "UInt32");
    if (!period) return;
    const timer = setInterval(() => this.set("Counter", { value: ++count }), period);
    this.space.registerShutdownTask(async () => clearInterval(timer));
  }

  /** Raise an event of the machine: a type of namespace 0, a message and a severity from 1 to 1000. */
  raise({ type = "BaseEventType", message, severity = 500 }) {
    this.folder.raiseEvent(type, {
      message: { dataType: DataType.LocalizedText, value: { text: message } },
      severity: { dataType: DataType.UInt16, value: severity },
      sourceName: { dataType: DataType.String, value: "Machine" },
    });
  }

  /** Acknowledge the level's alarm, or its branches, as an operator at the machine does. */
  acknowledge({ comment = "seen", branches = false }) {
    const chosen = branches ? this.alarm.getBranches() : [this.alarm.currentBranch()];
    for (const branch of chosen) this.alarm.acknowledgeAndAutoConfirmBranch(branch, comment);
  }

  /** Return what the level's alarm says. */
  alarmState() {
    const branch = this.alarm.currentBranch();
    return {
      active: branch.getActiveState(),
      acknowledged: branch.getAckedState(),
      retain: branch.getRetain(),
      severity: branch.getSeverity(),
      message: branch.getMessage().text,
    };
  }
}

module.exports = { MACHINE, Machine };
