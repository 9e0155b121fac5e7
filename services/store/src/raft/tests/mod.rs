mod cluster;
mod sandbox;
mod storage;
mod toy;
