#!/usr/bin/env node
// Fetches the creation code of Wormhole's core contracts for tests and the devnet. The package that carries it drags in 500 MB of
// dependencies when installed, so its tarball is packed, three files are read out of it, and each is checked against a pinned hash.
// What is there already is kept; `npm ci` removes it with everything else in node_modules.
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const { execFileSync } = require('child_process');
const { keccak256 } = require('js-sha3');

const PACKAGE = '@certusone/wormhole-sdk@0.10.18';
const INTEGRITY = 'sha512-VuN4AGB018ELkzTT/jN+yWgE6TWqXsHilxxCVWqGctzow2hKSFd8ADUhxhHigies436rS0vPvrgXi6m0J1+Ecw==';
const FOLDER = 'package/lib/cjs/ethers-contracts/factories';
const CODE = {
  Setup: 'd68eb7f945183e22a3ac38554bfcb5feef6bdfe17d5d2e94aa8596da1462df0a',
  Implementation: '344ec4faa9a0b44948fe619a3d63fa1ad708af0c3dac6404b767140800f8d12f',
  Wormhole: '2e7d17dc0a5abf3e69ce28e8736b9b66a813a7522d740a17865cde7f57ab7409',
};

const target = path.join(__dirname, '../node_modules/.wormhole-core');
const hash = (bytecode) => keccak256(Buffer.from(bytecode.slice(2), 'hex'));

function present(name) {
  try {
    return hash(JSON.parse(fs.readFileSync(path.join(target, `${name}.json`), 'utf8')).bytecode) === CODE[name];
  } catch {
    return false;
  }
}

function fetch(scratch) {
  const args = ['pack', PACKAGE, '--json', '--ignore-scripts', '--pack-destination', scratch];
  const [packed] = JSON.parse(execFileSync('npm', args, { encoding: 'utf8', maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'inherit'] }));
  if (packed.integrity !== INTEGRITY) throw new Error(`${PACKAGE} has integrity ${packed.integrity}, expected ${INTEGRITY}`);
  const files = Object.keys(CODE).map((name) => `${FOLDER}/${name}__factory.js`);
  execFileSync('tar', ['-xzf', path.join(scratch, packed.filename), '-C', scratch, ...files]);
  fs.mkdirSync(target, { recursive: true });
  for (const name of Object.keys(CODE)) {
    // Read as text: running the file would need the package's dependencies.
    const found = /_bytecode = "(0x[0-9a-f]+)"/.exec(fs.readFileSync(path.join(scratch, FOLDER, `${name}__factory.js`), 'utf8'));
    if (!found || hash(found[1]) !== CODE[name]) throw new Error(`${name} of ${PACKAGE} is not the code this was built against`);
    fs.writeFileSync(path.join(target, `${name}.json`), JSON.stringify({ bytecode: found[1] }) + '\n');
  }
}

if (!Object.keys(CODE).every(present)) {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'wormhole-core-'));
  try {
    fetch(scratch);
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}
