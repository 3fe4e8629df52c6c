from nanoeval_cli.bin.mon import main as main

if __name__ == "__main__":
    main()
