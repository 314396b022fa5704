// Finds animations, of which the page can show the first frame only.
"use strict";

/** Throws an error for an animation, unless the reader reads its first frame (data.frame). */
function refuseAnimation(file, reader) {
  if (reader.input.frame !== "first" && isAnimated(file))
    throw new Error("it has several frames; save the one that shows the text as an image");
}

/** Whether a GIF, PNG or WebP file has several frames. */
function isAnimated(file) {
  const name = (start, length) => String.fromCharCode(...file.subarray(start, start + length));
  if (name(0, 4) === "GIF8") return framesOfGif(file) > 1;
  if (name(1, 3) === "PNG") return framesOfPng(file, name) > 1;
  return name(0, 4) === "RIFF" && name(8, 4) === "WEBP" && framesOfWebp(file, name) > 1;
}

function framesOfGif(file) {
  const tableSize = (flags) => (flags & 128 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let count = 0, at = 13 + tableSize(file[10]);
  const skipBlocks = () => {
    while (file[at]) at += 1 + file[at];
    at++;
  };
  while (at < file.length && file[at] !== 0x3b) {
    const kind = file[at++];
    if (kind === 0x21) at++; // an extension and its label
    else if (kind === 0x2c) {
      count++;
      at += 10 + tableSize(file[at + 8]); // position, size and flags, colors, code size
    } else continue;
    skipBlocks();
  }
  return count;
}

/** The frames that the chunk acTL announces, and the still image if that is not among them. */
function framesOfPng(file, name) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let count = 0, isAmong = false;
  for (let at = 8; at + 12 <= file.length; at += 12 + view.getUint32(at)) {
    const kind = name(at + 4, 4);
    if (kind === "acTL") count = view.getUint32(at + 8);
    if (kind === "fcTL") isAmong = true;
    if (kind === "IDAT") return isAmong ? count : count + 1;
  }
  return count;
}

function framesOfWebp(file, name) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let count = 0;
  for (let at = 12; at + 8 <= file.length; ) {
    if (name(at, 4) === "ANMF") count++;
    const size = view.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  return count;
}
