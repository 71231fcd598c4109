// A real digit, so that the page has one to ask about before it has asked for anything. (The data set's own; see reduce.js.)

export const DIGIT = {
  label: 3,
  inputs: [
    0, 0, 6, 9, 11, 9, 0, 0, 0, 13, 16, 15, 15, 15, 0, 0, 0, 4, 5, 2, 15, 6, 0, 0, 0, 0, 0, 3, 15, 6, 0, 0,
    0, 0, 0, 0, 6, 15, 6, 0, 0, 0, 0, 0, 0, 5, 12, 0, 0, 0, 0, 5, 13, 16, 9, 0, 0, 0, 3, 13, 12, 7, 1, 0,
  ],
};
