mod cluster;
mod load;
mod sandbox;
mod storage;
mod toy;
