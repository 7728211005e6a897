/** The MC146818's view of a point in time: eight bytes in BCD or binary, 12 or 24 hours. */

/** How the bytes are encoded: register B's DM and 24/12 bits. */
export interface CalendarFormat {
  readonly binary: boolean;
  readonly hours24: boolean;
}

/** The register of each byte. */
export interface CalendarBytes {
  second: number;
  minute: number;
  hour: number;
  weekday: number;
  day: number;
  month: number;
  year: number;
  century: number;
}

/** In 12-hour mode: the afternoon. MC146818A "Time, Calendar, and Alarm Data Modes". */
const PmBit = 0x80;
const MicrosecondsPerMillisecond = 1000;

/** The bytes for `microseconds` since 1970. */
export function toCalendar(microseconds: number, format: CalendarFormat): CalendarBytes {
  const date = new Date(Math.floor(microseconds / MicrosecondsPerMillisecond));
  const encode = (value: number): number => encodeByte(value, format);
  const year = date.getUTCFullYear();
  return {
    second: encode(date.getUTCSeconds()),
    minute: encode(date.getUTCMinutes()),
    hour: encodeHour(date.getUTCHours(), format),
    weekday: encode(date.getUTCDay() + 1),
    day: encode(date.getUTCDate()),
    month: encode(date.getUTCMonth() + 1),
    year: encode(year % 100),
    century: encode(Math.floor(year / 100) % 100),
  };
}

/** Microseconds since 1970 for what software wrote; days, months and so on that do not exist carry over. */
export function fromCalendar(bytes: CalendarBytes, format: CalendarFormat): number {
  const decode = (value: number): number => decodeByte(value, format);
  const year = decode(bytes.century) * 100 + decode(bytes.year);
  const date = new Date(0);
  date.setUTCFullYear(year, decode(bytes.month) - 1, decode(bytes.day));
  date.setUTCHours(decodeHour(bytes.hour, format), decode(bytes.minute), decode(bytes.second));
  return date.getTime() * MicrosecondsPerMillisecond;
}

export function decodeByte(value: number, format: CalendarFormat): number {
  return format.binary ? value : (value >> 4) * 10 + (value & 0xf);
}

export function decodeHour(value: number, format: CalendarFormat): number {
  if (format.hours24) return decodeByte(value, format);
  const hour = decodeByte(value & ~PmBit, format) % 12;
  return (value & PmBit) !== 0 ? hour + 12 : hour;
}

function encodeByte(value: number, format: CalendarFormat): number {
  return format.binary ? value : (Math.floor(value / 10) << 4) | (value % 10);
}

function encodeHour(hour: number, format: CalendarFormat): number {
  if (format.hours24) return encodeByte(hour, format);
  return encodeByte(hour % 12 || 12, format) | (hour >= 12 ? PmBit : 0);
}
