#!/usr/bin/env node
import { main } from '../bundle/main.js';

// Threads and handles of a machine that has ended must not keep the command alive.
process.exit(await main(process.argv.slice(2)));
