#!/usr/bin/env node
// Writes the ABIs of our own contracts from forge's build to abi/, for those who integrate without a compiler.
// `--check` changes nothing and fails when a file differs from the build: CI runs it so that the two cannot part.
'use strict';
const fs = require('fs');
const path = require('path');
const { execFileSync } = require('child_process');

const CONTRACTS = ['CcipPort', 'CheckpointRegistry', 'LayerZeroPort', 'SettlementInbox', 'SettlementOutbox', 'SettlementVault', 'WormholePort'];

const root = path.join(__dirname, '..');
const check = process.argv.includes('--check');
const stale = [];

for (const name of CONTRACTS) {
  const args = ['inspect', `src/${name}.sol:${name}`, 'abi', '--json'];
  const answer = execFileSync(path.join(__dirname, 'forge'), args, { encoding: 'utf8', maxBuffer: 64 << 20 });
  const text = JSON.stringify(JSON.parse(answer), null, 1) + '\n';
  const file = path.join(root, 'abi', `${name}.json`);
  if (!check) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  } else if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== text) {
    stale.push(path.relative(root, file));
  }
}
if (stale.length > 0) {
  process.stderr.write(`${stale.join(', ')} differ from the build; run npm run abi\n`);
  process.exit(1);
}
